"""The embedded server: Oxen.ai's video API on this machine, with a local preview in place of the models."""
