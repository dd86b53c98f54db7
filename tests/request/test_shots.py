"""Shots: what a cell's body says, and the text that says the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxenvideo.catalog.pricing import shots_seconds
from oxenvideo.errors import InvalidRequest
from oxenvideo.request import shots


def test_one_section_is_a_prompt() -> None:
    """A body without a separator is the prompt, stripped, and nothing in it is taken for a length."""
    assert shots.parse("\n  A red balloon\n  over a -- hill --- there\n") == "A red balloon\n  over a -- hill --- there"
    assert shots.parse("[5s] A balloon") == "[5s] A balloon"
    assert shots.parse("a\n----\nb") == "a\n----\nb"
    assert shots.parse("") == ""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a\n---\nb", [{"prompt": "a"}, {"prompt": "b"}]),
        ("[5s] a\n  ---  \n[ 3 S ]\nb\nc\n", [{"prompt": "a", "duration": 5}, {"prompt": "b\nc", "duration": 3}]),
        ("[5] a\r\n---\r\n[x] b", [{"prompt": "a", "duration": 5}, {"prompt": "[x] b"}]),
        ("[12 s]a\n---\nb [3s]", [{"prompt": "a", "duration": 12}, {"prompt": "b [3s]"}]),
    ],
)
def test_sections_are_shots(body: str, expected: list[dict[str, Any]]) -> None:
    """Each section is a shot, with a length where it begins with one."""
    assert shots.parse(body) == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("a\n---\n", "Shot 2 of 2 has no prompt"),
        ("---\na", "Shot 1 of 2 has no prompt"),
        ("a\n---\n[5s]\n---\nb", "Shot 2 of 3 has no prompt"),
        ("a\n---\n[0s] b", r"Shot 2 lasts \[0s\]: use whole seconds"),
        ("[2.5s] a\n---\nb", r"Shot 1 lasts \[2\.5s\]: use whole seconds"),
    ],
)
def test_faulty_sections(body: str, message: str) -> None:
    """An empty section and an impossible length are named by the number of the shot."""
    with pytest.raises(InvalidRequest, match=message):
        shots.parse(body)


def test_shots_from_python_values() -> None:
    """Texts, pairs and mappings are all shots; anything else is refused by its number."""
    assert shots.from_values(["a", ("b", 3), {"prompt": "c", "extra": 1}]) == [
        {"prompt": "a"},
        {"prompt": "b", "duration": 3},
        {"prompt": "c", "extra": 1},
    ]
    with pytest.raises(InvalidRequest, match=r"^Shot 2 is a int: give a text"):
        shots.from_values(["a", 3])


SHOT = st.fixed_dictionaries({"prompt": st.text()}, optional={"duration": st.integers(1, 15)})


@given(st.lists(SHOT, min_size=1, max_size=4))
def test_render_reads_back_or_declines(listed: list[dict[str, Any]]) -> None:
    """A rendered text is read as the same shots; what no text can say is declined, not bent."""
    text = shots.render(listed)
    if text is not None:
        assert shots.parse(text) == listed


def test_render_says_ordinary_shots() -> None:
    """Ordinary shots have a text; one shot alone, unknown keys and separators in a prompt have none."""
    assert shots.render([{"prompt": "a", "duration": 5}, {"prompt": "b"}]) == "[5s] a\n---\nb"
    assert shots.render([{"prompt": "a"}]) is None
    assert shots.render([{"prompt": "a", "seed": 1}, {"prompt": "b"}]) is None
    assert shots.render([{"prompt": "a\n---\nb"}, {"prompt": "b"}]) is None
    assert shots.render([{"prompt": "[5s] a"}, {"prompt": "b"}]) is None


def test_total_counts_the_default_length() -> None:
    """A shot without a length counts with the documented 5 seconds."""
    assert shots_seconds([{"prompt": "a", "duration": 3}, {"prompt": "b"}]) == 8
