"""The background thread: submit, recover, watch, download, cancel and resume.

`service.Service.run` is the life of a submission. The state that it changes is in the package jobs, and nothing here
displays anything.
"""
