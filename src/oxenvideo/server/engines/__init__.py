"""Engines: the user's own model servers and GPUs, which make the videos of their models in place of previews.

Here belongs the contract of an engine (`engine`), one adapter for each kind of engine, the configuration in
`engines.toml`, and the scheduler that gives each engine its next job. Nothing here knows HTTP routes of this server.
"""
