"""One request for videos: build it, check it, price it, show it as a cell or as Python."""
