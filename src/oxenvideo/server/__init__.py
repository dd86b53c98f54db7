"""The embedded server: Oxen.ai's video API on this machine, with previews in place of the models.

Here belongs everything that runs in the server process and its worker processes, and `launcher`, which starts a server
from another process. Nothing here imports the client side of the package; the two share only the HTTP API.
"""
