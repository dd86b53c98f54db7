"""Make videos with Oxen.ai from a notebook."""
