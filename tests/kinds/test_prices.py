"""What a cell will cost, before it is sent: told in a dry run, and kept below a limit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from generations import generation
from kinds import clips
from kinds.shapes import EDIT, REFERENCE, TEXT, UPSCALE
from oxenvideo import Session
from oxenvideo.errors import CostLimitExceeded
from shell import Notebook, notebook_in

TINY = "wan-ai-wan2-1-t2v-1-3b-diffusers"


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A notebook on the embedded server, which nothing here may start."""
    with notebook_in(tmp_path_factory.mktemp("book")) as opened:
        Path("bar.mp4").write_bytes(clips.moving_bar(seconds=2))
        yield opened


def told(book: Notebook, line: str, body: str = "A fox") -> str:
    """The last line of a dry run."""
    ran = book.run(f"%%oxenvideo --dry-run {line}\n{body}" if body else f"%oxenvideo --dry-run {line}")
    assert ran.error is None, ran.message
    return ran.text.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("line", "body", "price"),
    [
        (f"--model {TEXT} --duration 10", "A fox", "About 10 s × $0.07 = $0.70."),
        (f"--model {TEXT}", "A fox", "About 5 s × $0.07 = $0.35."),
        (f"--model {TEXT} --audio", "A fox", "About 5 s × $0.07 = $0.35 (the price with audio is not known)."),
        (f"--model {TEXT} -n 10", "A fox", "About 10 × 5 s × $0.07 = $3.50."),
        (f"--model {TEXT} --sweep seed=1,2,3", "A fox", "About $1.05 for 3 requests."),
        (f"--model {REFERENCE}", "[2s] A fox\n---\n[4s] An owl", "About 6 s × $0.224 = $1.344."),
        (f"--model {UPSCALE} --video bar.mp4 --resolution 1080p", "", "About 2 s × $0.0374 = $0.0748."),
        (f"--model {UPSCALE} --video bar.mp4", "", "About 2 s × $0.1494 = $0.2988."),
        (f"--model {EDIT} --video bar.mp4", "Make it night", "About 2 s × $0.336 = $0.672."),
        (f"--model {EDIT} --video https://example.com/a.mp4", "Make it night", "The price is not known."),
        (f"--model {TINY}", "A fox", "The price is not known."),
    ],
)
def test_a_dry_run_tells_the_price(book: Notebook, line: str, body: str, price: str) -> None:
    """The estimate counts seconds, shots, resolutions, requests, and the length of a clip that goes in."""
    assert told(book, line, body) == f"{price} Nothing was sent."


def test_a_chain_is_priced_by_the_length_that_was_asked_for(book: Notebook) -> None:
    """A video that is not there yet counts by its request."""
    with Session(base_url="local", data_dir=Path("data")) as session:
        request = session.request("A fox", model=TEXT, duration=10).request
        book["first"] = generation(request, name="first")
        assert told(book, f"--model {EDIT} --video first") == "About 10 s × $0.336 = $3.36. Nothing was sent."


@pytest.mark.parametrize(
    ("line", "sum_"),
    [
        (f"--model {TEXT} --max-cost 0.30", "$0.35, above the limit of $0.30"),
        (f"--model {TEXT} --max-cost $1 -n 3", "$1.05, above the limit of $1.00"),
        (f"--model {TEXT} --max-cost 1.5 --sweep seed=1,2,3 --sweep duration=5,10", "$3.15, above the limit of $1.50"),
    ],
)
def test_above_the_limit_nothing_is_sent(book: Notebook, line: str, sum_: str) -> None:
    """--max-cost refuses the whole cell with the sum, also where the embedded server would charge nothing."""
    ran = book.run(f"%%oxenvideo dear {line}\nA fox")
    assert type(ran.error).__name__ == "UsageError"
    assert f"This would cost {sum_}; nothing was sent." in ran.message
    assert "dear" not in book.shell.user_ns
    assert book.run("%oxenvideo list").text.startswith("No videos")


def test_a_dry_run_says_what_would_be_refused(book: Notebook) -> None:
    """A limit that the cell would exceed is told beside the price."""
    ran = book.run(f"%%oxenvideo --dry-run --model {TEXT} --max-cost 0.30\nA fox")
    assert ran.error is None
    assert "It would be refused: This would cost $0.35, above the limit of $0.30; nothing was sent.\n" in ran.text


def test_prices_that_are_not_known_are_not_passed_over(book: Notebook) -> None:
    """Of two requests the price of one is known: the sum says so."""
    said = told(book, f"--sweep model={TEXT},{TINY}")
    assert said == "About $0.35 for 1 request, and 1 whose price is not known. Nothing was sent."


def test_a_dry_run_of_very_many_is_short(book: Notebook) -> None:
    """A thousand requests are counted, not printed."""
    book["rows"] = [{"animal": f"fox {number}"} for number in range(1000)]
    ran = book.run(f"%%oxenvideo --dry-run --model {TEXT} --each rows\nA {{animal}}")
    assert ran.text.count("POST ") == 24
    assert "and 976 more requests" in ran.text
    assert ran.text.endswith("About $350.00 for 1000 requests. Nothing was sent.\n")


def test_the_configured_limit_holds_for_every_cell(book: Notebook) -> None:
    """%config OxenVideo.max_cost refuses likewise; a cell's own limit takes its place."""
    assert book.run("%config OxenVideo.max_cost = 0.5").error is None
    try:
        ran = book.run(f"%%oxenvideo dear --model {TEXT} -n 2\nA fox")
        assert "This would cost $0.70, above the limit of $0.50; nothing was sent." in ran.message
        ran = book.run(f"%%oxenvideo dear --model {TEXT} -n 2 --max-cost 0.6\nA fox")
        assert "above the limit of $0.60" in ran.message
    finally:
        book.run("%config OxenVideo.max_cost = None")


def test_a_limit_cannot_be_kept_where_the_price_is_not_known(tmp_path: Path) -> None:
    """A service that charges is not asked for what may cost anything; the embedded server charges nothing."""
    with Session(base_url="http://127.0.0.1:1", api_key="k", data_dir=tmp_path, max_cost=5) as session:
        request = session.request("A fox", model=TINY).request
        with pytest.raises(CostLimitExceeded, match=f"The price of {TINY} is not known, so the limit"):
            session.check_cost([request])
    with Session(base_url="local", data_dir=tmp_path, max_cost=5) as session:
        session.check_cost([request])


def test_an_upscale_of_an_unreadable_file_has_no_price(book: Notebook) -> None:
    """A clip that cannot be opened here leaves the price open; the service may know better."""
    Path("broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(200))
    assert told(book, f"--model {UPSCALE} --video broken.mp4", "") == "The price is not known. Nothing was sent."
