"""The package's functions: thin, on one Session that is made when it is first needed."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oxenvideo.catalog.catalog import Model
from oxenvideo.engine.resume import HistoryRow
from oxenvideo.jobs.batch import Batch
from oxenvideo.jobs.generation import Generation
from oxenvideo.notebook.front_end import notebook_path
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import Session, Settings

if TYPE_CHECKING:
    from oxenvideo.notebook.panel import Panel


class _Current:
    """The one Session of this process; ``configure`` replaces it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.session: Session | None = None


_current = _Current()


def current_session() -> Session:
    """The Session that the functions and magics use."""
    with _current.lock:
        if _current.session is None:
            _current.session = Session(notebook=notebook_path())
        return _current.session


def configure(**settings: Any) -> None:
    """Change settings from here on: ``base_url``, ``api_key``, ``model``, ``download_dir``, ``max_cost``, and others.

    See ``session.Settings`` for all. Running generations go on under the settings that they were started with.
    """
    with _current.lock:
        previous = _current.session
        if previous is not None and previous.reconfigure(**settings):
            return
        kept = previous.settings if previous is not None else Settings()
        _current.session = Session(kept.changed(**settings), notebook=notebook_path())
        if previous is not None and all(g.done for g in previous.generations):
            previous.close()


def submit(prompt: str | VideoRequest | None = None, **options: Any) -> Generation:
    """Enqueue a video and return at once with its Generation.

    ``submit("A red balloon", model="...", duration=5)``: media by ``image=``, ``start_image=``, ``end_image=``,
    ``video=``, ``audio_ref=``, ``elements=``; ``shots=``; ``repo=``; ``save_as=``; ``max_cost=`` (US dollars); any
    parameter of the model by its name. Raises InvalidRequest for what is certainly wrong, before anything is sent.
    """
    return current_session().submit(prompt, **options)


def submit_batch(requests: Sequence[VideoRequest | Mapping[str, Any]], **options: Any) -> Batch:
    """Enqueue many videos and return at once with a Batch; a request may be a dictionary of ``submit``'s arguments."""
    return current_session().submit_batch(requests, **options)


def generate(prompt: str | VideoRequest | None = None, **options: Any) -> Generation:
    """Make a video by the synchronous endpoint and return when it is here; takes what ``submit`` takes."""
    return current_session().generate(prompt, **options)


def attach(generation_id: str, *, name: str | None = None) -> Generation:
    """The Generation of any id that this key may see."""
    return current_session().attach(generation_id, name=name)


def resume(*, all: bool = False) -> Batch:
    """Bring back everything unfinished or undelivered of this notebook, or of ``all`` notebooks.

    Warns of what cannot be brought back as things stand, such as a video that was submitted with another key.
    """
    resumed = current_session().resume(everything=all)
    for note in resumed.notes:
        warnings.warn(note, stacklevel=2)
    return Batch(resumed)


def history(*, page: int = 1, page_size: int = 50) -> list[HistoryRow]:
    """One page of the account's generations, with cost in US dollars, joined with what this machine knows of them."""
    return current_session().history(page=page, page_size=page_size)


def models(words: str = "", *, input: str | None = None, refresh: bool = False) -> list[Model]:
    """The video models that match; ``input`` is one of text, image, video, audio."""
    return current_session().models(words, input=input, refresh=refresh)


def panel() -> Panel:
    """The panel to make, watch and compare videos without writing code."""
    from oxenvideo.notebook.panel import Panel

    return Panel(current_session())
