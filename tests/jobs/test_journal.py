"""The journal: what is in it, who owns it, and that several kernels may have it at once."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

import oxenvideo
from oxenvideo.errors import ConfigurationError, DownloadFailed
from oxenvideo.jobs.journal import Journal, Plan, process_start
from oxenvideo.jobs.status import State, Step

URL = "https://hub.example"
OTHER = "https://other.example"
FINGERPRINT = {"model": "m", "prompt": "p", "elements": [{"b": 1, "a": 2}]}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Journal]]:
    made: list[Journal] = []

    def journal(notebook: str | None = "a.ipynb") -> Journal:
        made.append(Journal(tmp_path / "journal.sqlite3", notebook=notebook))
        return made[-1]

    yield journal
    for one in made:
        one.close()


@pytest.fixture
def journal(make: Callable[..., Journal]) -> Journal:
    return make()


def plan(key: str, count: int = 1, *, base_url: str = URL, position: int = 0) -> Plan:
    generations = [(f"{key}{n}", "clip", n) for n in range(count)]
    return Plan(key, base_url, "account", {"model": "m", "parameters": {}}, generations, "m", position=position)


def step_of(journal: Journal, key: str) -> str:
    entry = journal.entry(f"{key}0")
    assert entry is not None
    return entry.step


def test_a_submissions_way(journal: Journal) -> None:
    """Planned, sending, accepted, delivered: each is in the file, and at the end there is nothing to bring back."""
    journal.plan([plan("s", 2)])
    entries = journal.open_entries()
    assert [(e.key, e.step, e.status, e.name, e.place, e.count) for e in entries] == [
        ("s0", "planned", "submitting", "clip", 0, 2), ("s1", "planned", "submitting", "clip", 1, 2),
    ]  # fmt: skip
    assert journal.claim_sending("s", FINGERPRINT, None)
    entry = journal.entry("s0")
    assert entry is not None
    assert (entry.step, entry.sent) == ("sending", FINGERPRINT)
    assert entry.sent_at is not None
    assert abs(entry.sent_at - time.time()) < 5
    assert journal.accept("s", [("s0", "id-0"), ("s1", "id-1")])
    assert journal.find("id-1", URL).key == "s1"  # type: ignore[union-attr]
    assert journal.find("id-1", OTHER) is None
    done = State(remote="succeeded", fetching=False, path=Path("/x.mp4"), cost=Decimal("0.35"), finished_at=9.0)
    journal.record([("s0", done), ("s1", State(remote="failed", error_message="no"))])
    assert journal.open_entries() == []
    entry = journal.entry("s0")
    assert entry is not None
    assert (entry.path, entry.cost, entry.delivered, entry.status) == (
        Path("/x.mp4"),
        Decimal("0.35"),
        True,
        "succeeded",
    )
    journal.record([("s0", replace(done, cost=None))])
    assert journal.entry("s0").cost == Decimal("0.35")  # type: ignore[union-attr]


def test_sent_once(journal: Journal) -> None:
    """A submission is claimed for sending once, and again only after it is known not to have arrived."""
    journal.plan([plan("s")])
    assert journal.claim_sending("s", FINGERPRINT, None)
    assert not journal.claim_sending("s", FINGERPRINT, None)
    journal.step("s", Step.PLANNED)
    assert journal.claim_sending("s", FINGERPRINT, None)
    journal.step("s", Step.UNKNOWN)
    assert not journal.claim_sending("s", FINGERPRINT, None)


def test_all_or_nothing(journal: Journal) -> None:
    """A batch is written down whole, or not at all."""
    with pytest.raises(sqlite3.Error):
        journal.plan([plan("a"), plan("b"), plan("a")])
    assert journal.open_entries() == []
    journal.plan([plan("a"), plan("b")])
    assert len(journal.open_entries()) == 2


def test_nothing_to_bring_back_of_what_was_refused(journal: Journal) -> None:
    """What the service refused is not resumed, although a kill came before its state was written."""
    journal.plan([plan("s", 3)])
    journal.step("s", Step.REFUSED)
    assert journal.open_entries() == []


def test_one_id_stands_for_one(journal: Journal) -> None:
    """An id that was found goes to nobody else's entry; one that was told goes to its submitter, who is right."""
    journal.plan([plan("a"), plan("b"), plan("c", base_url=OTHER)])
    assert journal.accept("a", [("a0", "id")], told=False)
    assert not journal.accept("b", [("b0", "id")], told=False)
    assert step_of(journal, "b") == "planned"
    assert journal.accept("c", [("c0", "id")], told=False)
    assert journal.claimed(URL, ["id", "other"]) == {"id": False}
    assert journal.accept("b", [("b0", "id")], told=True)
    assert journal.find("id", URL).key == "b0"  # type: ignore[union-attr]
    robbed = journal.entry("a0")
    assert robbed is not None
    assert (robbed.generation_id, robbed.delivered) == (None, True)
    assert journal.find("id", OTHER).key == "c0"  # type: ignore[union-attr]


def test_many_ids_are_looked_up(journal: Journal) -> None:
    """A list of thousands of ids is no trouble."""
    journal.plan([plan("s", 4)])
    journal.accept("s", [(f"s{n}", f"id-{n}") for n in range(4)])
    assert journal.claimed(URL, [f"id-{n}" for n in range(5000)]) == {f"id-{n}": False for n in range(4)}


def test_what_is_delivered(journal: Journal) -> None:
    """A failed download is still to be brought back; a success that was not to be downloaded is not."""
    journal.plan([plan("s", 4)])
    journal.record(
        [
            ("s0", State(remote="succeeded", fetching=False, error=DownloadFailed("full"))),
            ("s1", State(remote="succeeded", fetching=False)),
            ("s2", State(remote="succeeded")),
            ("s3", State(remote="cancelled")),
        ]
    )
    assert [e.key for e in journal.open_entries()] == ["s0", "s2"]
    assert journal.entry("s0").error_message == "full"  # type: ignore[union-attr]


def test_of_one_notebook(make: Callable[..., Journal]) -> None:
    """Entries are told apart by notebook, and counted for all."""
    make("a.ipynb").plan([plan("a")])
    make("b.ipynb").plan([plan("b")])
    assert make("a.ipynb").open_entries() == []  # the others live
    one, other = make("a.ipynb"), make("b.ipynb")
    one.plan([plan("c")])
    other.plan([plan("d")])
    one.close()
    other.close()
    last = make("a.ipynb")
    assert [e.key for e in last.open_entries(notebook="a.ipynb")] == ["c0"]
    assert [e.key for e in last.open_entries()] == ["c0", "d0"]


def test_taken_over_once(make: Callable[..., Journal]) -> None:
    """What a closed kernel left is taken over by one other, and its own sending is over."""
    left = make()
    left.plan([plan("s")])
    left.close()
    one, other = make(), make()
    (entry,) = one.open_entries()
    assert one.take_over("s", entry.owner)
    assert not other.take_over("s", entry.owner)
    assert other.open_entries() == []
    assert not other.claim_sending("s", FINGERPRINT, None)
    assert one.claim_sending("s", FINGERPRINT, None)


def test_what_was_taken_over_is_left_to_the_taker(make: Callable[..., Journal]) -> None:
    """One who was thought dead, and is not, changes nothing of what another has taken over."""
    one, other = make(), make()
    one.plan([plan("s")])
    assert other.take_over("s", one.owner)
    one.step("s", Step.REFUSED)
    one.record([("s0", State(remote="failed"))])
    assert not one.claim_sending("s", FINGERPRINT, None)
    entry = other.entry("s0")
    assert entry is not None
    assert (entry.step, entry.status, entry.delivered) == ("planned", "submitting", False)
    assert other.claim_sending("s", FINGERPRINT, None)
    other.record([("s0", State(remote="failed"))])
    assert other.open_entries() == []


def test_what_other_living_kernels_have_sent(make: Callable[..., Journal]) -> None:
    """What other kernels have sent, with an unknown outcome, is known, the living and the ended apart; not one's own."""
    one, other = make(), make()
    one.plan([plan("s")])
    one.claim_sending("s", FINGERPRINT, 5.0)
    (sent,), ended = other.unsettled_elsewhere(URL)
    assert ended == []
    assert (sent.submission, sent.step, sent.sent, sent.count, sent.sent_at_service) == (
        "s",
        Step.SENDING,
        FINGERPRINT,
        1,
        5.0,
    )
    assert one.unsettled_elsewhere(URL) == ([], [])
    assert other.unsettled_elsewhere(OTHER) == ([], [])
    one.step("s", Step.UNKNOWN)
    assert [sent.step for sent in other.unsettled_elsewhere(URL)[0]] == [Step.UNKNOWN]
    one.close()
    living, ended = other.unsettled_elsewhere(URL)
    assert (living, [sent.step for sent in ended]) == ([], [Step.UNKNOWN])


def test_a_dead_process_and_a_number_used_again(make: Callable[..., Journal], tmp_path: Path) -> None:
    """The entries of a process that is no more are free, also where its number belongs to another now."""
    code = (
        "import sys; from pathlib import Path; from oxenvideo.jobs.journal import Journal\n"
        "from oxenvideo.jobs.journal import Plan\n"
        "j = Journal(Path(sys.argv[1]), notebook='a.ipynb')\n"
        f"j.plan([Plan('s', {URL!r}, 'account', {{'model': 'm', 'parameters': {{}}}}, [('s0', None, None)], 'm')])\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    env = os.environ | {"PYTHONPATH": str(Path(oxenvideo.__file__).parent.parent)}
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "journal.sqlite3")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    journal = make()
    assert journal.open_entries() == []
    child.kill()
    child.communicate()
    (entry,) = journal.open_entries()
    with sqlite3.connect(journal.path) as db:
        db.execute("UPDATE owner SET pid=? WHERE owner=?", (os.getpid(), entry.owner))
    db.close()
    assert len(journal.open_entries()) == 1


def test_when_a_process_began() -> None:
    """A living process has a beginning that stays; a dead one has none, nor has one that nobody has waited for."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process_start(child.pid) == process_start(child.pid) != ""
    assert process_start(os.getpid()) != ""
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_start(child.pid) == ""
    child.communicate()
    assert process_start(child.pid) == ""


def test_typical_seconds(journal: Journal) -> None:
    """The expected time is the median of what finished here, of this model and service."""
    assert journal.typical_seconds("m", URL) is None
    journal.plan([plan("s", 4), plan("t", base_url=OTHER)])
    submitted = journal.entry("s0").submitted_at or 0.0  # type: ignore[union-attr]
    for n, seconds in enumerate((10.0, 30.0, 200.0)):
        done = State(remote="succeeded", fetching=False, path=Path("x"), finished_at=submitted + seconds)
        journal.record([(f"s{n}", done)])
    journal.record([("s3", State(remote="failed", finished_at=submitted + 1))])
    assert journal.typical_seconds("m", URL) == pytest.approx(30.0)
    assert journal.typical_seconds("m", OTHER) is None
    assert journal.typical_seconds("n", URL) is None


def test_a_full_disk_leaves_it_usable(journal: Journal) -> None:
    """A write that the disk refuses changes nothing, and the next one works."""
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        journal.plan([plan(f"s{n}") for n in range(2000)])
    journal._db.execute("PRAGMA max_page_count=1000000")
    assert journal.open_entries() == []
    journal.plan([plan("s")])
    assert len(journal.open_entries()) == 1


def test_an_interrupt_while_another_kernel_writes(journal: Journal, make: Callable[..., Journal]) -> None:
    """An interrupt ends the wait of a write, and undoes it alone: a later claim is in the file, so its POST is not repeated."""
    journal.plan([plan("s")])
    ended = make()
    ended.plan([plan("old")])
    ended.close()
    other = sqlite3.connect(journal.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def interrupt() -> None:
        while not journal._lock.locked():  # before it waits, the interrupt would end pytest
            time.sleep(0.01)
        time.sleep(0.2)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        journal.take_over("old", ended.owner)
    assert time.monotonic() - began < 3
    thread.join()
    other.execute("COMMIT")
    assert journal.claim_sending("s", FINGERPRINT, None)
    assert other.execute("SELECT key, step FROM submission").fetchall() == [("s", "sending"), ("old", "planned")]
    assert journal.accept("s", [("s0", "id")])
    other.close()


def test_an_interrupt_between_two_statements(journal: Journal) -> None:
    """What an interrupt left open is not part of what follows, and what it hid is not written twice."""
    journal._db.execute("BEGIN IMMEDIATE")
    journal.plan([plan("s")])
    journal._registered = False  # the interrupt came right after the commit
    assert journal.claim_sending("s", FINGERPRINT, None)
    journal.step("s", Step.UNKNOWN)
    assert step_of(journal, "s") == "unknown"


def test_each_commit_is_on_the_disk(journal: Journal) -> None:
    """A power cut after a POST cannot undo its claim: SQLite flushes the file at each commit (FULL is 2)."""
    assert tuple(journal._db.execute("PRAGMA synchronous").fetchone()) == (2,)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    """A journal that is none, that is newer, or has no place is one clear error with what to do."""
    (tmp_path / "text").write_text("this is no database, and it is long enough to tell" * 10)
    (tmp_path / "file").write_text("")
    newer = sqlite3.connect(tmp_path / "newer")
    newer.execute("PRAGMA user_version=99")
    newer.close()
    for path, why in [
        (tmp_path / "text", "not a database"),
        (tmp_path / "file" / "journal", "exists|Not a directory"),
        (tmp_path / "newer", "newer oxenvideo"),
    ]:
        with pytest.raises(ConfigurationError, match=rf"Cannot write the journal .*({why}).*Nothing was sent"):
            Journal(path)


_FORKED = """
import os, sys, threading, time
from pathlib import Path
from oxenvideo.jobs.journal import Journal, Plan

def plan(key):
    return Plan(key, "u", "a", {"model": "m", "parameters": {}}, [(key + "0", None, None)], "m")

journal = Journal(Path(sys.argv[1]))
journal.plan([plan("parent")])
inside = threading.Event()

def write():
    with journal._transaction():
        inside.set()
        time.sleep(0.2)

writer = threading.Thread(target=write)
writer.start()
inside.wait()
opened, is_open = os.pipe()
closed, is_closed = os.pipe()
if os.fork() == 0:
    own = Journal(Path(sys.argv[1]))
    own.plan([plan("child")])
    os.write(is_open, b".")
    os.read(closed, 1)
    own.claim_sending("child", {}, None)
    os._exit(0)
writer.join()
os.read(opened, 1)
journal.claim_sending("parent", {}, None)
journal.close()
os.write(is_closed, b".")
os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_that_outlives_its_parent(journal: Journal) -> None:
    """A child that is forked in a write has a journal of its own, and what it writes after the parent's end is in the file."""
    environment = os.environ | {"PYTHONPATH": str(Path(oxenvideo.__file__).parent.parent)}
    journal.close()
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _FORKED, str(journal.path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    db = sqlite3.connect(journal.path)
    assert db.execute("SELECT key, step FROM submission").fetchall() == [("parent", "sending"), ("child", "sending")]
    db.close()


def test_two_journals_of_a_process_lose_nothing(journal: Journal, make: Callable[..., Journal]) -> None:
    """What one of them writes is in the file, also after another process has closed it meanwhile."""
    other = (
        "import sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1])\n"
        "print([key for key, in db.execute('SELECT key FROM submission')])\n"
        "db.close()\n"
    )

    def seen() -> str:
        return subprocess.run(
            [sys.executable, "-c", other, str(journal.path)], check=True, capture_output=True, text=True
        ).stdout.strip()

    make()
    assert seen() == "[]"
    journal.plan([plan("s")])
    assert seen() == "['s']"


@pytest.mark.slow
def test_a_write_waits_for_one_that_takes_long(journal: Journal) -> None:
    """Another kernel's disk may need seconds, and its turn may come again before ours."""
    other = sqlite3.connect(journal.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(5.5, lambda: other.execute("COMMIT"))
    timer.start()
    journal.plan([plan("s")])
    assert step_of(journal, "s") == "planned"
    timer.join()
    other.close()


@pytest.mark.slow
def test_many_kernels_start_at_once(tmp_path: Path) -> None:
    """Processes that make the same journal at the same moment all get it, and none loses an entry."""
    code = (
        "import sys; from pathlib import Path; from oxenvideo.jobs.journal import Journal\n"
        "from oxenvideo.jobs.journal import Plan\n"
        "sys.stdin.readline()\n"
        "j = Journal(Path(sys.argv[1]))\n"
        "for n in range(20):\n"
        f"    key = f'{{sys.argv[2]}}-{{n}}'\n"
        f"    j.plan([Plan(key, {URL!r}, 'a', {{'model': 'm', 'parameters': {{}}}}, [(key + 'g', None, None)], 'm')])\n"
        "    assert j.claim_sending(key, {}, None) and j.accept(key, [(key + 'g', key)])\n"
    )
    env = os.environ | {"PYTHONPATH": str(Path(oxenvideo.__file__).parent.parent)}
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "j"), str(n)], stdin=subprocess.PIPE, env=env)
        for n in range(6)
    ]
    time.sleep(0.5)
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
    for child in children:
        child.communicate(timeout=60)
    assert [child.returncode for child in children] == [0] * 6
    journal = Journal(tmp_path / "j")
    assert len(journal.entries(limit=1000)) == 120
    journal.close()
