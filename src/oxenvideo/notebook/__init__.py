"""Magics, cards and the panel: everything that users see in a notebook.

Modules here act through `session.Session` and the handles in the package jobs. They send no requests themselves.
"""
