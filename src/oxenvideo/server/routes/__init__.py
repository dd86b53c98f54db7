"""The embedded server's HTTP routes."""
