"""VideoRequest: build it, estimate it, write it as code. What becomes of a request is in the package jobs."""
