"""One line, when the extension is loaded, about videos that an earlier kernel left unfinished."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from oxenvideo.settings import notebook_path


def unfinished_line() -> str | None:
    """What to tell, or None. Reads the journal without the rest of the package, since loading must stay quick."""
    path = _journal_path()
    if path is None or not path.exists():
        return None
    try:
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0.1)
        try:
            count = db.execute(
                "SELECT count(*) FROM generation g JOIN submission s ON s.key = g.submission"
                " WHERE g.delivered = 0 AND s.notebook = ?",
                (notebook_path(),),
            ).fetchone()[0]
        finally:
            db.close()
    except sqlite3.Error:
        return None  # a hint is not worth an error; resume itself will say what is wrong
    if not count:
        return None
    videos = "1 video of this notebook is" if count == 1 else f"{count} videos of this notebook are"
    return f"oxenvideo: {videos} unfinished; %oxenvideo resume brings {'it' if count == 1 else 'them'} back."


def _journal_path() -> Path | None:
    if chosen := os.environ.get("OXENVIDEO_DATA_DIR"):
        return Path(chosen) / "journal.sqlite3"
    import platformdirs

    return Path(platformdirs.user_data_dir("oxenvideo", appauthor=False)) / "journal.sqlite3"
