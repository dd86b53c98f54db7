"""How long the clip or sound is that goes into a request, as far as it can be known before it is sent."""

from __future__ import annotations

import io
from typing import Any

from oxenvideo.catalog import pricing
from oxenvideo.catalog.catalog import Catalog
from oxenvideo.errors import OxenVideoError
from oxenvideo.media import frames, media
from oxenvideo.media.media import Media
from oxenvideo.request.request import VideoRequest


def input_seconds(request: VideoRequest, catalog: Catalog) -> float | None:
    """Seconds of the first clip in a request, or of its first sound; None for a URL, and for what cannot be read here.

    A generation that has not ended yet counts by the length that it was asked for. Reading a file needs the ``local``
    extra.
    """
    leaves = [leaf for _, leaf in media.walk(request.parameters) if leaf.part != "last_frame"]
    timed = [leaf for kind in ("video", "audio") for leaf in leaves if leaf.kind == kind]
    return _seconds(timed[0], catalog) if timed else None


def _seconds(leaf: Media, catalog: Catalog) -> float | None:
    upstream: Any = leaf.generation
    if upstream is not None and upstream.path is None:
        model = catalog.get(upstream.request.model, None)
        asked = None
        if model is not None:
            asked = pricing.seconds_of(model, upstream.request.parameters, input_seconds(upstream.request, catalog))
        return float(asked) if asked is not None else None
    source = upstream.path if upstream is not None else leaf.path
    if source is None and leaf.content is None:
        return None
    try:
        return frames.duration_of(source if source is not None else io.BytesIO(leaf.content or b""))
    except OxenVideoError:
        return None
