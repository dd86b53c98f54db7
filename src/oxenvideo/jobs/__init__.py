"""What becomes of a request: status, handles, and the journal on disk."""
