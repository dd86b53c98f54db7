"""Oxen's HTTP API: endpoints, transport, answers, credentials and retries.

Here belongs everything that depends on HTTP. What happens to a job, and in which order, belongs in the package engine.
"""
