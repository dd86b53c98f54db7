"""A faulty Oxen service for tests: the documented interface over real sockets, and each of its failures on demand.

    with FaultyService(keep_alive=0.05) as service:
        service.script("POST /api/ai/queue", act_then_reset(), ok())
        ...
        assert service.counts["POST /api/ai/queue"] == 1

It is written from the interface's documentation alone and shares no type with the client.
"""

from .behaviours import (
    Behaviour,
    act_after,
    act_then,
    act_then_close,
    act_then_empty,
    act_then_half_the_answer,
    act_then_html,
    act_then_never_answer,
    act_then_reset,
    act_then_status,
    altered,
    answer_after,
    bad_gateway,
    bad_request,
    close,
    empty_body,
    html_page,
    never_answer,
    not_found,
    not_json,
    ok,
    ok_then_close,
    once,
    out_of_credits,
    rate_limited,
    rate_limited_until,
    redirect,
    reply,
    reset,
    reset_at_accept,
    reset_before_reading,
    server_error,
    status,
    truncated_json,
    unauthorized,
    unavailable,
    wrong_length,
)
from .downloads import (
    changed_file,
    chunked,
    empty_file,
    endless_file,
    evil_file_name,
    expired,
    html_instead_of_video,
    huge_length,
    ignore_range,
    pause_midway,
    range_not_satisfiable,
    redirect_elsewhere,
    redirect_hops,
    redirect_loop,
    reset_midway,
    short_body,
    slow_download,
    stall_midway,
    until_close,
    wrong_range,
)
from .exchange import Reply, Request, json_reply
from .faults import (
    DOWNLOAD_FAULTS,
    LOST_SUBMITS,
    READ_FAULTS,
    REFUSED_SUBMITS,
    RESUME_FAULTS,
    STREAM_FAULTS,
    UNTOLD_SUBMITS,
)
from .model import Job
from .service import FaultyService, hold_port
from .stream import (
    Course,
    dribble,
    drop_stream,
    end_stream,
    endless_line,
    event,
    foreign_events,
    half_open,
    huge_comments,
    invalid_utf8,
    links_missing,
    malformed_events,
    no_keep_alives,
    only_malformed_events,
    other_line_ends,
    out_of_order,
    repeat_events,
    silent_stream,
    stream,
)
from .video import small_video

__all__ = [
    "DOWNLOAD_FAULTS", "LOST_SUBMITS", "READ_FAULTS", "REFUSED_SUBMITS", "RESUME_FAULTS", "STREAM_FAULTS",
    "UNTOLD_SUBMITS", "Behaviour", "Course", "FaultyService", "Job", "Reply", "Request", "act_after", "act_then",
    "act_then_close", "act_then_empty", "act_then_half_the_answer", "act_then_html", "act_then_never_answer",
    "act_then_reset", "act_then_status", "altered", "answer_after", "bad_gateway", "bad_request", "changed_file",
    "chunked", "close", "dribble", "drop_stream", "empty_body", "empty_file", "end_stream", "endless_file",
    "endless_line", "event", "evil_file_name", "expired", "foreign_events", "half_open", "hold_port", "html_instead_of_video",
    "html_page", "huge_comments", "huge_length", "ignore_range", "invalid_utf8", "json_reply", "links_missing",
    "malformed_events", "never_answer", "no_keep_alives", "not_found", "not_json", "ok", "ok_then_close", "once",
    "only_malformed_events", "other_line_ends", "out_of_credits", "out_of_order", "pause_midway", "range_not_satisfiable",
    "rate_limited", "rate_limited_until", "redirect", "redirect_elsewhere", "redirect_hops", "redirect_loop",
    "repeat_events", "reply", "reset", "reset_at_accept", "reset_before_reading", "reset_midway", "server_error",
    "short_body", "silent_stream", "slow_download", "small_video", "stall_midway", "status", "stream",
    "truncated_json", "unauthorized", "unavailable", "until_close", "wrong_length", "wrong_range",
]  # fmt: skip
