"""The preview: a video drawn and encoded on this machine in place of the model's.

Nothing here knows HTTP routes, the queue or worker processes: `render.LocalPreview` is a renderer as `server.renderer`
defines it.
"""
