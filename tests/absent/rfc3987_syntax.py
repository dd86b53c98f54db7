"""Stands before the package of this name, of which a process would need 1.6 s to import it, and then not use it."""

raise ImportError("not imported in tests")
