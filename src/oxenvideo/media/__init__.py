"""Image, video and audio files: read, recognise and encode them; frames and metadata. Nothing about models or jobs."""
