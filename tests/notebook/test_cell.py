"""From a cell to requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oxenvideo import Session
from oxenvideo.errors import InvalidRequest
from oxenvideo.notebook import arguments, cell

REFERENCE = "kling-video-o3-pro-reference-to-video"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session that is never asked to send anything."""
    with Session(base_url="local", data_dir=tmp_path_factory.mktemp("data")) as made:
        yield made


def bodies(session: Session, line: str, body: str, **names: Any) -> list[dict[str, Any]]:
    options = arguments.parse_cell(line)
    requests, _ = cell.requests(options, body, names, session.catalog, session.settings.model, {"duration": None})
    return [request.body() for request in requests]


def refusal(session: Session, line: str, body: str, **names: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        bodies(session, line, body, **names)
    return str(caught.value)


def test_options_become_typed_parameters(session: Session) -> None:
    """Texts take the types of the model's schema, and our names the API's."""
    assert bodies(
        session,
        "--duration 10 --aspect-ratio 9:16 --audio --negative 'no text' --cfg-scale 0.7 --seed 3 -p extra='{\"a\":[1]}'",
        "A fox",
    ) == [
        {
            "model": "kling-video-v2-6-pro-text-to-video",
            "prompt": "A fox",
            "negative_prompt": "no text",
            "aspect_ratio": "9:16",
            "duration": 10,
            "generate_audio": True,
            "cfg_scale": 0.7,
            "seed": 3,
            "extra": {"a": [1]},
        }
    ]


def test_variables_fill_body_and_options(session: Session) -> None:
    """{name} is replaced in body and options, with attributes, items and formats; {{ }} are braces."""
    animal = SimpleNamespace(kind="fox", legs=[4])
    (body,) = bodies(
        session,
        "--duration {seconds} -p note={word}",
        "A {a.kind} on {a.legs[0]:02d} legs {{x}}",
        a=animal,
        seconds=5,
        word="hi",
    )
    assert body["prompt"] == "A fox on 04 legs {x}"
    assert body["duration"] == 5
    assert body["note"] == "hi"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A {missing}", "'missing'"),
        ("A {}", "name a variable"),
        ("A {0}", "name a variable"),
        ("A {open", "cannot be replaced"),
        ("A {a.nothing}", "nothing"),
    ],
)
def test_a_missing_variable_is_named(session: Session, text: str, said: str) -> None:
    """What cannot be filled in is said by name, and how to write a brace."""
    message = refusal(session, "", text, a=3)
    assert said in message
    assert "{{" in message


def test_shots_become_multi_prompt(session: Session) -> None:
    """Sections between --- become shots with their lengths."""
    (body,) = bodies(session, f"--model {REFERENCE}", "[5s] A fox wakes\n---\n[3s] It runs\n")
    assert body["multi_prompt"] == [{"prompt": "A fox wakes", "duration": 5}, {"prompt": "It runs", "duration": 3}]
    assert "prompt" not in body


def test_each_row_is_a_request(session: Session) -> None:
    """--each fills a row's columns into body and options; a DataFrame serves as well as a list."""
    rows = [{"animal": "fox", "shape": "1:1"}, {"animal": "owl", "shape": "9:16"}]
    made = bodies(session, "--each rows --aspect-ratio {shape}", "A {animal}", rows=rows)
    assert [(b["prompt"], b["aspect_ratio"]) for b in made] == [("A fox", "1:1"), ("A owl", "9:16")]
    pandas = pytest.importorskip("pandas")
    assert bodies(session, "--each rows --aspect-ratio {shape}", "A {animal}", rows=pandas.DataFrame(rows)) == made


def test_sweeps_are_combined(session: Session) -> None:
    """Several sweeps give every combination, typed."""
    made = bodies(session, "--sweep seed=1,2 --sweep aspect_ratio=16:9,9:16", "A fox")
    assert [(b["seed"], b["aspect_ratio"]) for b in made] == [(1, "16:9"), (1, "9:16"), (2, "16:9"), (2, "9:16")]


def test_media_may_be_paths_urls_and_variables(session: Session, tmp_path: Path) -> None:
    """A picture is a URL, a path, or what a variable or one of its items holds."""
    import base64

    dot = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    file = tmp_path / "dot.png"
    file.write_bytes(dot)
    (body,) = bodies(
        session,
        f"--model {REFERENCE} --image https://example.com/a.png --image {file} --image pictures[0] --image dot",
        "@Image1 and @Image4",
        pictures=[dot],
        dot=dot,
    )
    uri = "data:image/png;base64," + base64.b64encode(dot).decode()
    assert body["input_image"] == ["https://example.com/a.png", uri, uri, uri]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--count 0", "below 1"),
        ("--count two", "not a whole number"),
        ("--duration soon", "duration 'soon'"),
        ("--duration 7", "use 5 or 10"),
        ("--duraton 5", "Did you mean --duration?"),
        ("--model kling-v2-6-pro", "kling-video-v2-6-pro-text-to-video"),
        ("--each nothing", "no variable 'nothing'"),
        ("--sweep seed", "KEY=V1,V2"),
        ("-p seed", "KEY=VALUE"),
        ("--image nowhere.png", "nowhere.png"),
        ("--start-image dog", "--start-image dog: there is no variable and no file 'dog'."),
        ("--image {dog}", "--image {dog}: there is no variable 'dog'."),
        ("--element dog[0]", "--element dog[0]: there is no variable and no file 'dog'."),
    ],
)
def test_a_mistake_is_one_line(session: Session, line: str, said: str) -> None:
    """Each mistake is one line that names the value and what to do."""
    message = refusal(session, line, "A fox")
    assert said in message
    assert "\n" not in message


def test_no_prompt_is_a_mistake(session: Session) -> None:
    """An empty body is refused for a model that needs a prompt."""
    assert refusal(session, "", "  \n") == "Write a prompt in the cell's body."
    assert refusal(session, f"--model {REFERENCE}", "") == "Write a prompt in the cell's body."


def test_no_check_sends_as_it_is(session: Session) -> None:
    """--no-check lets an unknown model and a refused value through."""
    assert bodies(session, "--no-check --model newest --duration 7", "A fox") == [
        {"model": "newest", "prompt": "A fox", "duration": 7}
    ]
