"""Oxen's HTTP API. The only package that knows HTTP."""
