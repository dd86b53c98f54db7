"""The HTTP routes, one module for each part of the API.

A route reads its request, calls the queue, the repositories or the models, and builds the answer. Rules of requests
belong in `validation`, the shapes of answers in `responses`.
"""
