"""How often a service is asked, and how long things are waited for."""

from __future__ import annotations

from dataclasses import dataclass, field

from oxenvideo.retry import Backoff


@dataclass(frozen=True)
class Pace:
    """How often things are looked at, in seconds.

    ``poll`` is between lists (the documentation advises 10 to 30 s for videos), ``first_poll`` after a submit,
    ``linger`` how long the stream stays open with nothing to watch, ``stream_start`` how long a submit waits for the
    stream to stand, ``stream_retry`` between attempts where the service says that it has no stream, ``stream_silence``
    how long the stream may be quiet (the service sends a keep-alive every 15 s), ``confirm`` how long a submit with a
    lost answer is looked for before a person is asked, and an id that the service does not know is asked for,
    ``reach`` how long a service that cannot be connected to is tried.
    """

    poll: float = 10.0
    first_poll: float = 2.0
    linger: float = 20.0
    stream_start: float = 3.0
    stream_retry: float = 300.0
    stream_silence: float = 46.0
    confirm: float = 45.0
    reach: float = 60.0
    backoff: Backoff = field(default_factory=Backoff)
