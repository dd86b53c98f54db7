"""Image, video and audio inputs: read, sniff, encode; frames and metadata of video files."""
