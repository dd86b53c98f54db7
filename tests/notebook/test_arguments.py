"""Reading the magic's line."""

from __future__ import annotations

import pytest

from oxenvideo.catalog.catalog import bundled
from oxenvideo.errors import InvalidRequest
from oxenvideo.notebook import arguments


def test_reads_name_values_flags_and_parameters() -> None:
    """A line is split into the name, our options and the model's parameters."""
    options = arguments.parse_cell(
        "clip --model m --duration 5 --audio -n 3 --cfg-scale 0.7 --image a.png --image b.png --keep_audio"
    )
    assert options.name == "clip"
    assert (options.model, options.duration, options.count, options.seed) == ("m", "5", "3", None)
    assert (options.audio, options.wait) == (True, False)
    assert options.parameters == {"cfg_scale": "0.7", "keep_audio": True}
    assert (options.image, options.video) == (["a.png", "b.png"], [])


def test_a_value_may_be_attached_quoted_or_negative() -> None:
    """Values come after a space or an equals sign, in quotes, and may be negative numbers."""
    options = arguments.parse_cell(
        "--model=m --negative 'no text, no blur' --duration -1 --start_image=x=y.png -p=a=b -pc=d --steps -2"
    )
    assert (options.model, options.negative, options.duration) == ("m", "no text, no blur", "-1")
    assert (options.start_image, options.param) == ("x=y.png", ["a=b", "c=d"])
    assert options.parameters == {"steps": "-2"}


def test_an_element_takes_all_its_views() -> None:
    """--element takes every text up to the next option, and may be repeated."""
    options = arguments.parse_cell("--element front.png side.png --element other.png --seed 1")
    assert options.element == [["front.png", "side.png"], ["other.png"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--model", "--model needs a value: --model ID"),
        ("--model --audio", "--model needs a value"),
        ("-n", "--count needs a value: --count N"),
        ("a b", "'b' stands alone"),
        ("1x", "'1x' is not a name for a variable"),
        ("class", "'class' is not a name for a variable"),
        ("for --audio=yes", "--audio takes no value"),
        ("--negative 'open", "Quotes come in pairs"),
        ("-x 3", "There is no option -x."),
        ("-seed 3", "There is no option -seed. Did you mean --seed?"),
        ("--embed somehow", "--embed 'somehow' is not allowed: use auto, inline, file or url."),
        ("--max-cost -1", "--max-cost '-1' is not an amount of US dollars."),
    ],
)
def test_says_what_is_wrong_with_a_line(text: str, said: str) -> None:
    """Each mistake in a line is one sentence that names it."""
    with pytest.raises(InvalidRequest) as caught:
        arguments.parse_cell(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lits", "There is no verb 'lits'. Did you mean list?"),
        ("resume --every", "%oxenvideo resume has no option --every. Use --all."),
        ("list --all", "%oxenvideo list has no option --all."),
        ("panel now", "%oxenvideo panel takes no name: 'now' is not an option."),
        ("wait --timeout", "--timeout needs a value: --timeout SECONDS"),
        ("wait --timeout soon", "--timeout 'soon' is not a number of seconds."),
        ("history --page 0", "--page '0' is not a whole number of at least 1."),
        ("models --input smell", "--input 'smell' is not allowed: use text, image, video or audio."),
    ],
)
def test_says_what_is_wrong_with_a_verb(line: str, said: str) -> None:
    """Verbs have their own options, and mistakes in them are named as well."""
    with pytest.raises(InvalidRequest) as caught:
        arguments.parse_verb(line)
    assert said in str(caught.value)


def test_the_help_names_every_option_and_verb() -> None:
    """--help lists each option and verb with what it does, and each verb has help of its own."""
    text = arguments.help_text()
    for option in arguments.CELL:
        assert f"--{option.name}" in text
        assert option.help in text
    for name, (_, about) in arguments.VERBS.items():
        assert about in text
        assert all(f"--{o.name}" in arguments.help_text(name) for o in arguments.VERB_OPTIONS[name])


def test_the_default_of_embed_takes_what_the_option_takes() -> None:
    """The configuration and the option list the same ways, which are written twice to keep loading fast."""
    from oxenvideo.notebook.magics import OxenVideo

    assert tuple(OxenVideo.embed.values) == arguments.EMBED


def test_options_hide_no_parameter() -> None:
    """An option with the name of a model's parameter sets that parameter."""
    parameters = {name.replace("_", "-") for model in bundled().values() for name in model.parameters}
    assert {option.name for option in arguments.CELL} & parameters == {"duration", "aspect-ratio", "seed"}
