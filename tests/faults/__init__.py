"""Every fault that the client is held against, and what must come of each."""
