"""Every kind of video, from the cell to the file that a player opens."""
