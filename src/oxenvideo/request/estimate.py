"""The length of a request's video or audio input, which decides the price of some models."""

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
    """Seconds of the first video input of a request, or else of its first audio input; None if that is not known.

    The length of a file at a URL is not known. A Generation that has not ended counts with the length in its request.
    Reading a file needs the ``local`` extra.
    """
    found = [medium for _, medium in media.walk(request.parameters) if medium.part != "last_frame"]
    timed = [medium for kind in ("video", "audio") for medium in found if medium.kind == kind]
    return _seconds(timed[0], catalog) if timed else None


def _seconds(medium: Media, catalog: Catalog) -> float | None:
    upstream: Any = medium.generation
    if upstream is not None and upstream.path is None:
        model = catalog.get(upstream.request.model, None)
        asked = None
        if model is not None:
            asked = pricing.seconds_of(model, upstream.request.parameters, input_seconds(upstream.request, catalog))
        return float(asked) if asked is not None else None
    source = upstream.path if upstream is not None else medium.path
    if source is None and medium.content is None:
        return None
    try:
        return frames.duration_of(source if source is not None else io.BytesIO(medium.content or b""))
    except OxenVideoError:
        return None
