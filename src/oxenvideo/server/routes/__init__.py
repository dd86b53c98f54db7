"""The HTTP routes, one module for each part of the API: a route reads its request and builds the answer."""
