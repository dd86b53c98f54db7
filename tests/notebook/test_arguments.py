"""Reading the magic's line."""

from __future__ import annotations

import pytest

from oxenvideo.errors import InvalidRequest
from oxenvideo.notebook import arguments


def test_reads_name_values_flags_and_parameters() -> None:
    """A line is split into the name, our options and the model's parameters."""
    line = arguments.read(
        "clip --model m --duration 5 --audio -n 3 --cfg-scale 0.7 --image a.png --image b.png --keep-audio"
    )
    assert line.name == "clip"
    assert line.values == {"model": "m", "duration": "5", "count": "3"}
    assert line.flags == {"audio"}
    assert line.parameters == {"cfg_scale": "0.7", "keep_audio": True}
    assert line.all("image") == ["a.png", "b.png"]


def test_a_value_may_be_attached_quoted_or_negative() -> None:
    """Values come after a space or an equals sign, in quotes, and may be negative numbers."""
    line = arguments.read("--model=m --negative 'no text, no blur' --duration -1 --start-image=x=y.png")
    assert line.values == {"model": "m", "negative": "no text, no blur", "duration": "-1", "start-image": "x=y.png"}


def test_an_element_takes_all_its_views() -> None:
    """--element takes every text up to the next option, and may be repeated."""
    line = arguments.read("--element front.png side.png --element other.png --seed 1")
    assert line.lists["element"] == [["front.png", "side.png"], ["other.png"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--model", "--model needs a value"),
        ("--model --audio", "--model needs a value"),
        ("a b", "'b' stands alone"),
        ("1x", "'1x' is no name for a variable"),
        ("class", "'class' is no name for a variable"),
        ("for --audio=yes", "--audio takes no value"),
        ("--negative 'open", "Quotes come in pairs"),
        ("-x 3", "There is no option -x."),
    ],
)
def test_says_what_is_wrong_with_a_line(text: str, said: str) -> None:
    """Each mistake in a line is one sentence that names it."""
    with pytest.raises(InvalidRequest) as caught:
        arguments.read(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_help_names_every_option() -> None:
    """--help lists each option with what it does."""
    text = arguments.help_text()
    for option in arguments.OPTIONS.values():
        assert f"--{option.name}" in text
        assert option.help in text
