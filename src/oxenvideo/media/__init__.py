"""Image, video and audio files: read, recognise and encode them; frames and metadata.

Nothing here depends on models, requests or jobs.
"""
