"""Oxen's HTTP API: endpoints, transport and answers. No other package of the client side knows HTTP."""
