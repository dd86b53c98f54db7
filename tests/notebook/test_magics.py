"""The magics in a real IPython, on the embedded server."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.displaypub import CapturingDisplayPublisher

from generations import generation
from oxenvideo import Batch, Generation, GenerationFailed
from oxenvideo.jobs.status import State
from oxenvideo.request.request import VideoRequest
from oxenvideo.session import current_session
from shell import SMALL

if TYPE_CHECKING:
    from shell import Notebook

pytest.importorskip("av", reason="the embedded server needs the local extra")


@pytest.mark.slow
def test_a_cell_makes_a_video(notebook: Notebook) -> None:
    """The cell returns with a Generation under the name, which becomes a file."""
    cell = notebook.run("%%oxenvideo clip --duration 5\nA red balloon")
    assert cell.error is None
    clip = notebook["clip"]
    assert isinstance(clip, Generation)
    assert clip.wait(60).path.read_bytes()[4:8] == b"ftyp"
    assert "No API key" in cell.text
    assert "No API key" not in notebook.run("%%oxenvideo\nAgain").text, "it is said once"


@pytest.mark.slow
def test_wait_ends_with_the_file(notebook: Notebook) -> None:
    """--wait returns when the video is here, and says where."""
    cell = notebook.run(f"%%oxenvideo clip {SMALL} --wait\nA red balloon")
    assert notebook["clip"].done
    assert str(notebook["clip"].path.name) in cell.text


@pytest.mark.slow
def test_sync_uses_the_other_endpoint(notebook: Notebook) -> None:
    """--sync makes the video by the synchronous endpoint, as URL and as base64."""
    for option in ("", " --response-format b64_json"):
        assert notebook.run(f"%%oxenvideo clip {SMALL} --sync{option}\nA red balloon").error is None
        assert notebook["clip"].path.exists()
        assert notebook["clip"].id is None


def test_dry_run_sends_nothing(notebook: Notebook) -> None:
    """--dry-run shows the request and the price, and leaves no variable."""
    cell = notebook.run('%%oxenvideo clip --dry-run -n 6 --cfg-scale 0.7\nA "red" balloon')
    assert '"num_generations": 4' in cell.text
    assert '"num_generations": 2' in cell.text
    assert '"prompt": "A \\"red\\" balloon"' in cell.text
    assert "$2.10" in cell.text
    assert "clip" not in notebook.shell.user_ns
    assert notebook.run("%oxenvideo list").captured.stdout.startswith("No videos")


@pytest.mark.slow
def test_several_videos_are_a_batch(notebook: Notebook) -> None:
    """-n gives a Batch of as many, in requests of at most four."""
    notebook.run(f"%%oxenvideo many {SMALL} -n 5 --wait\nA red balloon")
    many = notebook["many"]
    assert isinstance(many, Batch)
    assert len(many) == 5
    assert {g.path.exists() for g in many} == {True}
    assert len({g.path for g in many}) == 5


@pytest.mark.slow
def test_a_failure_is_the_services_own_message(notebook: Notebook) -> None:
    """A job that fails at the service fails the waiting cell with its message, and wait() raises it."""
    cell = notebook.run("%%oxenvideo clip --no-check --duration 2 --wait\nA red balloon")
    assert "duration value '2' is invalid" in cell.message
    with pytest.raises(GenerationFailed, match="duration value '2' is invalid"):
        notebook["clip"].wait()


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%%oxenvideo --duraton 5\nA", "Did you mean --duration?"),
        ("%%oxenvideo 1st\nA", "not a name for a variable"),
        ("%%oxenvideo\n \n", "Write a prompt in the cell's body."),
        ("%%oxenvideo clip --duration 5", "Write a prompt in the cell's body."),
        ("%%oxenvideo --start-image dog\nA", "there is no variable and no file 'dog'"),
        ("%%oxenvideo\nA {nobody}", "'nobody'"),
        ("%%oxenvideo --embed somehow\nA", "--embed 'somehow'"),
        ("%%oxenvideo --save ../{x}\nA", "no field {x}"),
        ("%%oxenvideo --max-cost lots\nA", "US dollars"),
        ("%oxenvideo lits", "Did you mean list?"),
        ("%oxenvideo cancel nobody", "no video 'nobody'"),
        ("%oxenvideo attach", "attach ID"),
        ("%oxenvideo attach 00000000-0000-0000-0000-000000000000", "knows no generation"),
        ("%oxenvideo models --input smell", "text, image, video or audio"),
    ],
)
def test_a_mistake_is_one_line_and_sends_nothing(notebook: Notebook, cell: str, said: str) -> None:
    """A person's mistake is a UsageError of one line, without a traceback."""
    ran = notebook.run(cell)
    assert type(ran.error).__name__ == "UsageError"
    assert said in ran.message
    assert "Traceback" not in ran.text
    assert notebook.run("%oxenvideo list").captured.stdout.startswith("No videos")


def test_a_key_file_that_does_not_parse_is_named(notebook: Notebook, tmp_path: object) -> None:
    """A broken credentials file is one line that names it and shows none of its text."""
    from pathlib import Path

    file = Path(str(tmp_path)) / ".config" / "oxen" / "auth_config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('[[host_configs]]\nauth_token = "secret-key\n')
    ran = notebook.run("%%oxenvideo\nA")
    assert str(file) in ran.message
    assert "secret-key" not in ran.text + ran.message


@pytest.mark.slow
def test_line_verbs(notebook: Notebook) -> None:
    """list, wait, cancel, attach, history and models do what they say."""
    notebook.run("%%oxenvideo clip\nA red balloon")
    assert notebook.run("%oxenvideo wait clip").error is None
    assert "succeeded" in notebook.run("_ = print(get_ipython().run_line_magic('oxenvideo', 'list'))").text
    assert "already ended" in notebook.run("%oxenvideo cancel clip").text
    notebook.run(f"%oxenvideo attach {notebook['clip'].id} same")
    assert notebook["same"] is notebook["clip"]
    assert notebook["clip"].id in notebook.run("_ = print(get_ipython().run_line_magic('oxenvideo', 'history'))").text
    assert (
        "cfg-scale"
        in notebook.run(
            "_ = print(get_ipython().run_line_magic('oxenvideo', 'models kling-video-v2-6-pro-text-to-video'))"
        ).text
    )


def test_cancel_says_what_became_of_it(notebook: Notebook) -> None:
    """Cancelling a running job ends it, and the answer says that the service agreed."""
    notebook.run("%%oxenvideo first --duration 10 -p width=1920\nA red balloon")
    notebook.run("%%oxenvideo clip --duration 10\nA red balloon")
    said = notebook.run("%oxenvideo cancel clip").text
    assert "ancelled" in said
    assert notebook["clip"].status == "cancelled"


def test_cancelling_a_batch_is_one_sentence(notebook: Notebook) -> None:
    """The answer for a batch counts its videos, by its name and with --all."""
    notebook.run("%%oxenvideo long -n 6 --duration 10 -p width=1920\nA red balloon")
    assert re.fullmatch(r"long: [456] of [456] cancelled\.\n", notebook.run("%oxenvideo cancel long").text)
    assert notebook.run("%oxenvideo cancel long").text == "long: all 6 had already ended.\n"
    notebook.run("%%oxenvideo again -n 6 --duration 10 -p width=1920\nA red balloon")
    assert re.fullmatch(r"again: [456] of [456] cancelled\.\n", notebook.run("%oxenvideo cancel --all").text)
    assert notebook.run("%oxenvideo cancel --all").text == "Nothing is running.\n"


def test_resume_keeps_variables_that_hold_something_else(notebook: Notebook) -> None:
    """A resumed video does not take the place of what a variable holds; it gets a free name, and a line says so."""
    notebook.run("%%oxenvideo clip --duration 10 -p width=1920\nA red balloon")
    clip = notebook["clip"]
    assert "kept" not in notebook.run("%oxenvideo resume").text
    assert notebook["clip"] is clip
    notebook.run("clip, clip_2 = 'my own', None")
    said = "The variable clip holds something else and is kept; the resumed video is clip_3.\n"
    assert said in notebook.run("%oxenvideo resume --all").text
    assert (notebook["clip"], notebook["clip_2"]) == ("my own", None)
    assert notebook["clip_3"] is clip
    assert said in notebook.run("%oxenvideo resume --all").text, "it keeps the name that it was given"
    assert "clip_4" not in notebook.shell.user_ns


@pytest.mark.slow
def test_the_embedded_server_charges_nothing(notebook: Notebook) -> None:
    """Its history shows no prices."""
    notebook.run("%%oxenvideo clip --wait\nA red balloon")
    notebook.run("table = get_ipython().run_line_magic('oxenvideo', 'history')")
    (row,) = notebook["table"].rows
    assert row[4] == "free preview"
    assert "$" not in repr(notebook["table"])


def test_a_video_is_free_if_the_embedded_server_made_it(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card and its metadata go by the server that made the video, and not by that of the next one."""
    monkeypatch.setattr(notebook.shell, "kernel", object(), raising=False)  # cards instead of a terminal's lines
    monkeypatch.setattr(notebook.shell, "display_pub", published := CapturingDisplayPublisher())
    notebook.run("%oxenvideo list")  # from the first magic on, items are shown as cards
    request = VideoRequest("kling-video-v2-6-pro-text-to-video", {"prompt": "A fox"})
    ended = State(remote="succeeded", fetching=False, submitted_at=1.0, finished_at=2.0, cost=Decimal("0.35"))
    paid, free = (generation(request, ended, base_url=url) for url in ("https://hub.example", "local"))

    def shown(item: Generation | Batch) -> tuple[list[str], list[str]]:
        """What the card says of the cost, and each cost in its metadata."""
        notebook["item"] = item
        notebook.run("item")
        output = published.outputs[-1]
        metadata = output["metadata"]["oxenvideo"]
        rows = metadata.get("batch", [metadata])
        return re.findall(r"free previews?|cost [$\d.]+", output["data"]["text/html"]), [row["cost"] for row in rows]

    assert current_session().target.is_local
    assert shown(paid) == (["cost $0.35"], ["0.35"])
    assert shown(free) == (["free preview"], ["0"])
    assert shown(Batch([paid, paid])) == (["cost $0.70"], ["0.35", "0.35"])
    assert shown(Batch([free, free])) == (["free previews"], ["0", "0"])
    assert shown(Batch([paid, free]))[1] == ["0.35", "0"]
    assert shown(Batch([])) == ([], [])
    notebook.run("import oxenvideo\noxenvideo.configure(base_url='https://hub.example', api_key='key')")
    assert not current_session().target.is_local
    assert shown(paid) == (["cost $0.35"], ["0.35"])
    assert shown(free) == (["free preview"], ["0"])


def test_a_cell_without_body_is_not_complete_in_a_terminal(notebook: Notebook) -> None:
    """The prompt can still be typed after the line of options, and other cells are left alone."""
    assert notebook.shell.check_complete("%%oxenvideo clip\n")[0] == "incomplete"
    assert "cell body is empty" in notebook.run("%%time").text + str(notebook.run("%%capture").error)


@pytest.mark.slow
def test_an_order_without_prompt_fits_on_a_line(notebook: Notebook) -> None:
    """An upscaler takes no prompt, and IPython no empty cell: the line magic takes the order."""
    notebook.run("%%oxenvideo clip --wait\nA red balloon")
    ran = notebook.run(
        "%oxenvideo big --model topazlabs-upscale-starlight-2-5-video --video clip --resolution 1080p --wait"
    )
    assert ran.error is None
    assert notebook["big"].frame(0).size == (1920, 1080)


@pytest.mark.slow
def test_config_changes_the_defaults(notebook: Notebook) -> None:
    """%config OxenVideo sets what a cell uses where it says nothing."""
    notebook.run("%config OxenVideo.aspect_ratio = '1:1'")
    notebook.run("%config OxenVideo.download_dir = 'elsewhere'")
    notebook.run("%%oxenvideo clip --wait\nA red balloon")
    assert notebook["clip"].request.parameters["aspect_ratio"] == "1:1"
    assert notebook["clip"].path.parent.name == "elsewhere"


@pytest.mark.slow
def test_running_a_cell_again_keeps_the_old_job(notebook: Notebook) -> None:
    """The job of a cell that is run again goes on, and the new card says so."""
    notebook.run("%%oxenvideo clip --duration 10\nA red balloon")
    first = notebook["clip"]
    ran = notebook.run("%%oxenvideo clip\nA red balloon")
    assert "The earlier clip is still" in ran.text
    assert notebook["clip"] is not first
    assert first.wait(60).path.exists()


def test_loading_twice_and_unloading_leaves_nothing(notebook: Notebook) -> None:
    """%load_ext may be repeated; %unload_ext takes back magics, completion and formatters."""
    shell = notebook.shell
    matchers = len(shell.Completer.custom_matchers)
    transformers = len(shell.input_transformers_cleanup)
    notebook.run("%reload_ext oxenvideo")
    assert len(shell.Completer.custom_matchers) == matchers
    notebook.run("%unload_ext oxenvideo")
    assert len(shell.Completer.custom_matchers) == matchers - 1
    assert len(shell.input_transformers_cleanup) == transformers - 1
    assert shell.find_cell_magic("oxenvideo") is None
    assert shell.find_line_magic("oxenvideo") is None
    assert not [c for c in shell.configurables if type(c).__name__ == "OxenVideo"]
    assert notebook.run("%load_ext oxenvideo").error is None


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("%%oxenvideo --mod", "--model"),
        ("%%oxenvideo --model kling-video-v2-6", "kling-video-v2-6-pro-text-to-video"),
        ("%%oxenvideo --cfg", "--cfg-scale"),
        ("%%oxenvideo --duration ", "10"),
        ("%%oxenvideo --aspect-ratio 9", "9:16"),
        ("%oxenvideo his", "history"),
        ("%oxenvideo models --inp", "--input"),
        ("%oxenvideo models --input vi", "video"),
        ("%%oxenvideo --embed i", "inline"),
    ],
)
def test_completion(notebook: Notebook, text: str, offered: str) -> None:
    """Options, models, values and verbs are completed."""
    with provisionalcompleter():
        completions = list(notebook.shell.Completer.completions(text, len(text)))
    results = [text[: c.start] + c.text + text[c.end :] for c in completions]
    head = text[: len(text) - len(text.split(" ")[-1])]
    assert head + offered in results


@pytest.mark.slow
def test_a_changed_setting_keeps_the_videos_of_the_kernel(notebook: Notebook) -> None:
    """What is configured later holds from there on; what was submitted before is still listed and waited for."""
    notebook.run("%%oxenvideo clip\nA red balloon")
    notebook.run("%config OxenVideo.max_cost = 0.5")
    notebook.run("%config OxenVideo.download_dir = 'elsewhere'")
    assert notebook.run("%oxenvideo wait").error is None
    assert notebook["clip"].done
    assert notebook["clip"].path.parent.name == "videos"
    assert "clip" in notebook.run("_ = print(get_ipython().run_line_magic('oxenvideo', 'list'))").text


def test_a_key_that_is_set_later_counts_from_there(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting OXEN_API_KEY in a cell leads the next request to the hub, without a restart."""
    from oxenvideo import session as api

    assert api.current_session().target.is_local
    monkeypatch.setenv("OXEN_API_KEY", "key")
    assert api.current_session().target.base_url == "https://hub.oxen.ai"


@pytest.mark.slow
def test_a_default_can_be_restored(notebook: Notebook) -> None:
    """None means the default again, for the directory and for the model."""
    notebook.run("%config OxenVideo.download_dir = 'out'")
    notebook.run("%config OxenVideo.download_dir = None")
    notebook.run("%config OxenVideo.model = 'nosuch'")
    assert "Unknown model" in notebook.run("%%oxenvideo\nA cat").message
    notebook.run("%config OxenVideo.model = None")
    assert notebook.run("%%oxenvideo clip --wait\nA cat").error is None
    assert notebook["clip"].path.parent.name == "videos"


def test_the_help_is_had_on_a_line(notebook: Notebook) -> None:
    """IPython refuses a cell without a body, so the line magic tells verbs and options."""
    for cell in ("%oxenvideo --help", "%%oxenvideo --help"):
        text = notebook.run(cell).text
        assert "--aspect-ratio" in text
        assert "history" in text
    text = notebook.run("%oxenvideo wait --help").text
    assert "--timeout SECONDS" in text
    assert "--aspect-ratio" not in text


def test_a_column_that_is_not_used_is_told(notebook: Notebook) -> None:
    """A row's column that stands nowhere in the cell might be meant as a parameter."""
    notebook["rows"] = [{"animal": "fox", "seed": 1}]
    said = notebook.run("%%oxenvideo --each rows --dry-run\nA {animal}").text
    assert "Column seed of rows is not used" in said
    assert "animal of rows" not in said
