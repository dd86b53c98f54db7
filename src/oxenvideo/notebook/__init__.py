"""Magics, cards and the panel: everything that users see in a notebook.

Modules here use `session.Session`. They send no requests and write no files of videos.
"""
