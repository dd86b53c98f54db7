"""The background thread: submit, recover, watch, download, cancel, resume."""
