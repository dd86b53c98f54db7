"""Every named fault, by the route it befalls: the rows that tests of a client are parametrized with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from . import behaviours as b
from . import downloads as d
from . import stream as s
from .behaviours import Behaviour

Table = Mapping[str, Callable[[], Behaviour]]

# The client is told, or can tell, that nothing was enqueued.
REFUSED_SUBMITS: Table = MappingProxyType(
    {
        "bad request": b.bad_request,
        "unauthorized": b.unauthorized,
        "out of credits": b.out_of_credits,
        "not found": b.not_found,
        "rate limited": b.rate_limited,
        "rate limited, seconds": lambda: b.rate_limited(1),
        "rate limited, date": lambda: b.rate_limited_until(0.1),
    }
)

# Nothing was enqueued, and the client cannot know it.
LOST_SUBMITS: Table = MappingProxyType(
    {
        "reset before reading": b.reset_before_reading,
        "reset after reading": b.reset,
        "closed without an answer": b.close,
        "never answered": b.never_answer,
        "500": b.server_error,
        "502 page": b.bad_gateway,
        "503": b.unavailable,
        "200 page": b.html_page,
        "200 empty": b.empty_body,
        "200 not JSON": b.not_json,
    }
)

# The job was enqueued, and the client cannot know it.
UNTOLD_SUBMITS: Table = MappingProxyType(
    {
        "enqueued, reset": b.act_then_reset,
        "enqueued, closed": b.act_then_close,
        "enqueued, never answered": b.act_then_never_answer,
        "enqueued, 500": lambda: b.act_then_status(500),
        "enqueued, 502 page": b.act_then_html,
        "enqueued, 503": lambda: b.act_then_status(503),
        "enqueued, 200 page": lambda: b.act_then_html(200),
        "enqueued, 200 empty": b.act_then_empty,
        "enqueued, truncated JSON": b.truncated_json,
        "enqueued, longer length": b.wrong_length,
        "enqueued, shorter length": lambda: b.wrong_length(-10),
        "enqueued, half the answer": b.act_then_half_the_answer,
        "enqueued, ids missing": lambda: b.altered(lambda data: {}),
    }
)

# Of a list or of one generation; passing, each leaves nothing changed.
READ_FAULTS: Table = MappingProxyType(
    {
        "reset before reading": b.reset_before_reading,
        "reset after reading": b.reset,
        "closed without an answer": b.close,
        "never answered": b.never_answer,
        "rate limited": b.rate_limited,
        "rate limited, seconds": lambda: b.rate_limited(1),
        "rate limited, date": lambda: b.rate_limited_until(0.1),
        "500": b.server_error,
        "502 page": b.bad_gateway,
        "503": b.unavailable,
        "503, seconds": lambda: b.unavailable(1),
        "200 page": b.html_page,
        "200 empty": b.empty_body,
        "200 not JSON": b.not_json,
        "truncated JSON": b.truncated_json,
        "longer length": b.wrong_length,
        "half the answer": b.act_then_half_the_answer,
        "JSON of another shape": lambda: b.altered(lambda data: [1, None, "x"]),
        "closed after the answer": b.ok_then_close,
    }
)

STREAM_FAULTS: Table = MappingProxyType(
    {
        "no stream (404)": b.not_found,
        "refused (500)": b.server_error,
        "refused (429)": b.rate_limited,
        "a page": b.html_page,
        "reset at once": b.reset,
        "never answered": b.never_answer,
        "dropped at once": s.drop_stream,
        "dropped after an event": lambda: s.drop_stream(1),
        "ended after an event": lambda: s.end_stream(1),
        "silent": s.silent_stream,
        "half open after an event": lambda: s.half_open(1),
        "no keep-alives": s.no_keep_alives,
        "byte by byte": lambda: s.dribble(0.0005),
        "repeated": s.repeat_events,
        "out of order": s.out_of_order,
        "foreign events": s.foreign_events,
        "malformed events among good ones": s.malformed_events,
        "only malformed events": s.only_malformed_events,
        "invalid UTF-8": s.invalid_utf8,
        "huge comments": s.huge_comments,
        "a line without end": s.endless_line,
        "CR LF": s.other_line_ends,
        "CR": lambda: s.other_line_ends("\r"),
        "links missing": s.links_missing,
    }
)

DOWNLOAD_FAULTS: Table = MappingProxyType(
    {
        "reset before reading": b.reset_before_reading,
        "never answered": b.never_answer,
        "429": b.rate_limited,
        "500": b.server_error,
        "503": b.unavailable,
        "short body": d.short_body,
        "reset midway": d.reset_midway,
        "stalled midway": d.stall_midway,
        "slow": d.slow_download,
        "range not satisfiable": d.range_not_satisfiable,
        "expired (403)": d.expired,
        "expired (404)": lambda: d.expired(404),
        "expired (410)": lambda: d.expired(410),
        "page as video": d.html_instead_of_video,
        "page": lambda: d.html_instead_of_video("text/html"),
        "empty file": d.empty_file,
        "chunked": d.chunked,
        "no length": d.until_close,
        "no length, cut": lambda: d.until_close(0.5),
        "huge length": d.huge_length,
        "evil file name": d.evil_file_name,
        "three redirects": lambda: d.redirect_hops(3),
        "redirect loop": d.redirect_loop,
        "redirect to a file": lambda: b.redirect("file:///etc/hostname"),
        "redirect to FTP": lambda: b.redirect("ftp://127.0.0.1/video.mp4"),
    }
)

# Of the answer to a request that resumes a download; each is to follow one that was cut.
RESUME_FAULTS: Table = MappingProxyType(
    {
        "range ignored (200)": d.ignore_range,
        "not satisfiable (416)": d.range_not_satisfiable,
        "range of another start": d.wrong_range,
        "cut again": d.short_body,
        "reset again": d.reset_midway,
        "expired": d.expired,
    }
)
