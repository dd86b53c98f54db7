"""`VideoRequest`: build it, estimate its price, and write it as a cell or as Python.

A request is a value and is sent elsewhere. What becomes of it is in the package jobs.
"""
