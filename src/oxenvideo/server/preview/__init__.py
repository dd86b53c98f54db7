"""The local preview: drawing, sound and encoding of a procedural video."""
