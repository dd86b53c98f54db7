"""The preview: a video that is drawn and encoded on this machine in place of the model's.

Here belong the plan of a preview (size, length, shots), reading the media inputs, drawing, sound and encoding. Nothing
here depends on HTTP routes, the queue or worker processes: `render.LocalPreview` is a renderer as defined in
`server.renderer`.
"""
