"""Any parameter of any model as an option: typed, checked, completed, and sent even where nobody knows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter

from faulty import FaultyService
from faulty.model import describe_model
from kinds.shapes import EDIT, REFERENCE, TEXT, UPSCALE
from oxenvideo.catalog.catalog import bundled
from shell import Notebook, notebook_in

NEWEST = "tomorrows-model"  # which the bundled catalogue does not have


@pytest.fixture(scope="module")
def quick() -> Iterator[FaultyService]:
    """A service that takes everything."""
    with FaultyService(job_seconds=0.01) as service:
        there = {row["id"] for row in service.models}
        for model in [*(m for m in bundled() if m not in there), NEWEST]:
            row = describe_model({"id": model, "price": 0.1, "properties": {}})
            service.models.append(row | {"request_schema": None})
        yield service


@pytest.fixture(scope="module")
def book(quick: FaultyService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A notebook whose cells go there."""
    directory = tmp_path_factory.mktemp("book")
    with notebook_in(directory, base_url=quick.base_url, api_key=quick.api_key) as opened:
        yield opened


def sent(book: Notebook, quick: FaultyService, line: str, body: str = "A fox") -> tuple[dict[str, Any], str]:
    """What the service got for a cell, and what the cell said."""
    ran = book.run(f"%%oxenvideo made {line}\n{body}")
    assert ran.error is None, ran.message
    book["made"].wait(30)
    return quick.submits[-1], ran.text


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (f"--model {TEXT} --cfg-scale 0.7", "cfg_scale", 0.7),
        (f"--model {TEXT} --cfg_scale=1", "cfg_scale", 1),
        (f"--model {TEXT} -p cfg-scale=0.5", "cfg_scale", 0.5),
        (f"--model {TEXT} --generate-audio", "generate_audio", True),
        (f"--model {TEXT} --generate-audio false", "generate_audio", False),
        (f"--model {TEXT} --negative-prompt 'a cat, 5'", "negative_prompt", "a cat, 5"),
        ("--model google-veo-3-1 --resolution 1080P --duration 8", "resolution", "1080p"),
        ("--model flux-3-video --safety-tolerance 0", "safety_tolerance", 0),
        ("--model luma-ray-v3-2-text-to-video --duration 5s", "duration", "5s"),
        ("--model wan-ai-wan2-1-t2v-1-3b-diffusers --seed 12345678901", "seed", 12345678901),
    ],
)
def test_an_option_has_the_type_of_the_schema(
    book: Notebook, quick: FaultyService, line: str, name: str, value: Any
) -> None:
    """Text in the line becomes what the model's schema says that it is."""
    body, _ = sent(book, quick, line)
    assert body[name] == value
    assert type(body[name]) is type(value)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("--motion-strength 0.3", "motion_strength", 0.3),
        ("--style noir", "style", "noir"),
        ("--quiet", "quiet", True),
        ("-p 'camera={\"pan\": [1, 2]}'", "camera", {"pan": [1, 2]}),
    ],
)
def test_an_unknown_parameter_warns_and_is_sent(
    book: Notebook, quick: FaultyService, line: str, name: str, value: Any
) -> None:
    """Schemas lag behind: what they do not know goes out as it is, and the cell says so."""
    body, said = sent(book, quick, f"--model {TEXT} {line}")
    assert body[name] == value
    assert f"Note: {TEXT} has no known parameter '{name}'; it is sent as it is." in said


def test_a_slip_is_refused_and_can_be_insisted_on(book: Notebook, quick: FaultyService) -> None:
    """An option that is nearly a known one is not sent, unless by -p or --no-check."""
    before = len(quick.submits)
    ran = book.run(f"%%oxenvideo --model {TEXT} --cfg-scal 0.7\nA fox")
    assert "Did you mean --cfg-scale?" in ran.message
    assert "-p cfg_scal=VALUE" in ran.message
    assert len(quick.submits) == before
    for insisting in ("-p cfg_scal=0.7", "--no-check --cfg-scal 0.7"):
        body, _ = sent(book, quick, f"--model {TEXT} {insisting}")
        assert body["cfg_scal"] == 0.7


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"--model {TEXT} --cfg-scale 11", f"cfg_scale 11 is not allowed for {TEXT}: use 0 to 10."),
        (f"--model {TEXT} --duration 7", f"duration 7 is not allowed for {TEXT}: use 5 or 10."),
        (f"--model {TEXT} --aspect-ratio 4:3", f"aspect_ratio '4:3' is not allowed for {TEXT}: use 16:9, 9:16 or 1:1."),
        (f"--model {REFERENCE} --end-image https://x/a.png", "tail_image_url needs start_image_url"),
        (f"--model {REFERENCE} --duration 20", "use 3 to 15"),
        (f"--model {EDIT}", f"{EDIT} needs input_video."),
        (f"--model {UPSCALE} --video https://x/a.mp4 --target-fps 61", "use 1 to 60"),
        ("--model kling-v3", "Did you mean"),
    ],
)
def test_a_wrong_value_is_one_line_and_sends_nothing(
    book: Notebook, quick: FaultyService, line: str, said: str
) -> None:
    """The line names the parameter, the value, and what is allowed."""
    before = len(quick.submits)
    ran = book.run(f"%%oxenvideo wrong {line}\nA fox")
    assert type(ran.error).__name__ == "UsageError"
    assert said in ran.message
    assert "\n" not in ran.message
    assert len(quick.submits) == before


def test_no_check_sends_as_is(book: Notebook, quick: FaultyService) -> None:
    """--no-check sends what would have been refused, even to a model that only the service knows."""
    body, _ = sent(book, quick, f"--no-check --model {NEWEST} --duration 7 --cfg-scale 11 --fancy '[1, 2]'")
    assert body == {
        "model": NEWEST,
        "prompt": "A fox",
        "duration": 7,
        "cfg_scale": 11,
        "fancy": [1, 2],
    }


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        (f"%%oxenvideo --model {UPSCALE} --target", "--target-fps"),
        (f"%%oxenvideo --model={UPSCALE} --interp", "--interpolate-frames"),
        (f"%%oxenvideo --model {UPSCALE} --resolution ", "2k"),
        (f"%%oxenvideo --model {EDIT} --keep-audio t", "true"),
        ("%%oxenvideo --model google-veo-3-1 --duration ", "8"),
        (f"%%oxenvideo --model {REFERENCE} --start-image my_p", "my_picture"),
        (f"%%oxenvideo --model {REFERENCE} --element my_p", "my_picture"),
        (f"%oxenvideo up --model {UPSCALE} --target", "--target-fps"),
        (f"%oxenvideo up --model {UPSCALE} --video my_p", "my_picture"),
    ],
)
def test_names_and_values_of_any_model_are_completed(book: Notebook, text: str, offered: str) -> None:
    """What is offered follows the model that the line names."""
    book["my_picture"] = b""
    with provisionalcompleter():
        completions = list(book.shell.Completer.completions(text, len(text)))
    head = text[: len(text) - len(text.split(" ")[-1])]
    assert head + offered in [text[: c.start] + c.text + text[c.end :] for c in completions]
