"""A directory that came from somebody else: nothing of others is read, written or removed under names of ours."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.commandline import Desk, names, prompts
from support.result_lines import entry

from batcher.ledger import names as naming
from batcher.opening import UnfitError, check_own, open_regular, read_small
from batcher.simulator import Simulator, simulator_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.commandline import Ran

VICTIM = b"ssh-ed25519 AAAA me@home\n"
OURS: dict[str, Callable[[Path], Path]] = {
    "state": naming.state_path,
    "errors": naming.errors_path,
    "quarantine": naming.quarantine_path,
    "superseded": naming.superseded_path,
    "part": naming.part_path,
    "vectors": naming.vectors_path,
    "images": naming.images_path,
    "results": lambda path: path,
}
"""Names that batcher makes itself, where no -o is given."""
RESULT = entry("gone")[2]


def link(path: Path) -> None:
    path.symlink_to(path.parent / "victim")


def dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nothing/yet")


def link_to_results(path: Path) -> None:
    (path.parent / "victim").write_bytes(RESULT + VICTIM)
    path.symlink_to(path.parent / "victim")


def link_to_a_directory(path: Path) -> None:
    (path.parent / "elsewhere").mkdir()
    path.symlink_to(path.parent / "elsewhere")


def unix_socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(str(path))


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("only root makes devices")


STRANGE: dict[str, Callable[[Path], None]] = {
    "a link": link,
    "a dangling link": dangling,
    "a link to results": link_to_results,
    "a link to a directory": link_to_a_directory,
    "a FIFO": os.mkfifo,
    "a directory": lambda path: path.mkdir(),
    "a socket": unix_socket,
    "a device": device,
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """As that of others, and nobody reads at the end what has the name of a results file here."""
    return Desk(tmp_path)


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with simulator_thread() as simulator:
        yield simulator


def run(desk: Desk, sim: Simulator, *more: str) -> Ran:
    return desk.call("run", "jobs.jsonl", "--base-url", sim.url, "-m", "simulator", "--no-progress", *more)


def picture(path: Path) -> dict[str, Any]:
    """What is in a directory, without touching it."""
    found: dict[str, Any] = {}
    for entry_ in sorted(path.rglob("*")):
        status = entry_.lstat()
        regular = stat.S_ISREG(status.st_mode)
        found[str(entry_.relative_to(path))] = status.st_mode, status.st_ino, entry_.read_bytes() if regular else None
    return found


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("kind", STRANGE)
def test_what_has_a_name_of_ours_and_is_none_is_refused(desk: Desk, sim: Simulator, name: str, kind: str) -> None:
    """A run in a cloned directory ends with 73 before it asks anything, and all is as it was: no link was followed."""
    desk.write("jobs.jsonl", *prompts(names(2)))
    (desk.path / "victim").write_bytes(VICTIM)
    results = desk.path / "jobs.results.jsonl"
    if name in ("quarantine", "superseded"):
        results.write_bytes(RESULT + b"planted line\n")
    path = OURS[name](results)
    STRANGE[kind](path)
    if (name, kind) == ("images", "a directory"):
        assert run(desk, sim).code == 0
        return
    before, asked = picture(desk.path), sim.tally.counts.total()
    for more in ((), ("--overwrite",), ("--atomic",)) if name in ("results", "part") else ((),):
        ran = run(desk, sim, *more)
        assert ran.code == 73, ran.err
        assert path.name in ran.err
        assert sim.tally.counts.total() == asked
        assert {key: value for key, value in picture(desk.path).items() if key in before} == before
    assert (desk.path / "victim").read_bytes() in (VICTIM, RESULT + VICTIM)


@pytest.mark.parametrize("name", ["state", "errors"])
@pytest.mark.parametrize("kind", ["a link", "a FIFO", "a socket"])
def test_verify_reads_nothing_strange(desk: Desk, name: str, kind: str) -> None:
    """Nor does one who only reads wait for a FIFO, or read what a link leads to."""
    desk.write("jobs.jsonl", *prompts(names(1)))
    results = desk.path / "results.jsonl"
    results.write_bytes(RESULT)
    (desk.path / "victim").write_bytes(VICTIM)
    STRANGE[kind](OURS[name](results))
    ran = desk.call("verify", "jobs.jsonl", "results.jsonl", "-m", "simulator")
    assert ran.code == 73, ran.err
    assert OURS[name](results).name in ran.err


def test_a_link_that_was_typed_is_followed(desk: Desk, sim: Simulator) -> None:
    """Results and errors may be links where the user names them: they stay links, and what they lead to is written."""
    desk.write("jobs.jsonl", *prompts(["good"]), *prompts(["bad"], "do=400"))
    (desk.path / "disk").mkdir()
    for name in ("results.jsonl", "failures.jsonl"):
        (desk.path / name).symlink_to(desk.path / "disk" / name)
    ran = run(desk, sim, "-o", "results.jsonl", "--errors", "failures.jsonl", "--retries", "0")
    assert ran.code == 3, ran.err
    assert desk.ids("disk/results.jsonl") == ["good"]
    assert list(desk.errors("disk/failures.jsonl")) == ["bad"]
    assert all((desk.path / name).is_symlink() for name in ("results.jsonl", "failures.jsonl"))
    ran = run(desk, sim, "-o", "results.jsonl", "--errors", "failures.jsonl", "--overwrite", "-n", "1")
    assert ran.code == 0, ran.err
    assert (desk.path / "results.jsonl").is_symlink()


@pytest.mark.parametrize("content", [b"buy milk\n", b'{"id":"a","prompt":"x"}\n'])
@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_an_errors_file_of_something_else(desk: Desk, sim: Simulator, content: bytes, more: tuple[str, ...]) -> None:
    """Notes that were named as the errors file by mistake are neither unlinked nor rewritten: 73, nothing sent."""
    desk.write("jobs.jsonl", *prompts(names(1)))
    (desk.path / "notes.txt").write_bytes(content)
    asked = sim.tally.counts.total()
    ran = run(desk, sim, "-o", "results.jsonl", "--errors", "notes.txt", *more)
    assert ran.code == 73
    assert "notes.txt" in ran.err
    assert (desk.path / "notes.txt").read_bytes() == content
    assert sim.tally.counts.total() == asked


@pytest.mark.parametrize("command", ["run", "verify"])
def test_jobs_are_no_results(desk: Desk, sim: Simulator, command: str) -> None:
    """A file of jobs given for the results is refused and stays, though its lines have ids."""
    path = desk.write("jobs.jsonl", *prompts(names(3)))
    other = desk.write("copy.jsonl", *prompts(names(3)))
    before = path.read_bytes()
    if command == "run":
        ran = run(desk, sim, "-o", "copy.jsonl")
    else:
        ran = desk.call("verify", "jobs.jsonl", "jobs.jsonl", "-m", "simulator")
    assert ran.code == 73, ran.err
    assert "none of our results" in ran.err
    assert path.read_bytes() == other.read_bytes() == before


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_files_are_for_their_owner_alone(desk: Desk, sim: Simulator, mask: int) -> None:
    """Whatever the umask, nobody else reads prompts, answers and failures; no temporary file stays behind."""
    desk.write("jobs.jsonl", *prompts(["good"]), *prompts(["bad"], "do=400"))
    with umask(mask):
        (desk.path / "results.jsonl").write_bytes(b"")
        (desk.path / "results.jsonl").unlink()
        run(desk, sim, "-o", "results.jsonl", "--retries", "0")
    made = [path for path in desk.path.iterdir() if path.name != "jobs.jsonl"]
    assert {path.name for path in made} == {"results.jsonl", "results.errors.jsonl", "results.state.json"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in made)


@pytest.mark.parametrize("name", ["state", "errors", "quarantine", "superseded", "part"])
def test_a_hard_link_where_everybody_writes(desk: Desk, sim: Simulator, name: str) -> None:
    """In a directory like /tmp a second name of somebody's file is a trap; elsewhere it may be a snapshot."""
    desk.write("jobs.jsonl", *prompts(names(1)))
    results = desk.path / "results.jsonl"
    results.write_bytes(RESULT + b"planted line\n")
    victim = desk.path / "victim"
    victim.write_bytes(b"")
    OURS[name](results).hardlink_to(victim)
    desk.path.chmod(0o1777)
    ran = run(desk, sim, "-o", "results.jsonl")
    assert ran.code == 73, ran.err
    assert "second name" in ran.err
    assert victim.read_bytes() == b""
    desk.path.chmod(0o755)
    assert run(desk, sim, "-o", "results.jsonl").code == 0


def test_another_users_file_where_everybody_writes(tmp_path: Path) -> None:
    """A file that somebody else put there beforehand, for us to fill, is refused."""
    path = tmp_path / "x.state.json"
    path.write_bytes(b"{}")
    try:
        os.chown(path, 12345, -1)
    except PermissionError:
        pytest.skip("only root gives files away")
    tmp_path.chmod(0o1777)
    for touch in (check_own, open_regular, read_small):
        with pytest.raises(UnfitError, match="another user"):
            touch(path)
    tmp_path.chmod(0o755)
    assert read_small(path) == b"{}"


def test_a_name_that_becomes_a_link_between_check_and_use(tmp_path: Path) -> None:
    """What passed the check and is exchanged for a link is not opened all the same."""
    path, victim = tmp_path / "x.quarantine", tmp_path / "victim"
    victim.write_bytes(VICTIM)
    check_own(path)
    path.symlink_to(victim)
    with pytest.raises(UnfitError, match="is a link"):
        open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    assert victim.read_bytes() == VICTIM


@pytest.mark.parametrize("again", [False, True])
def test_a_name_that_is_lent_for_the_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, again: bool) -> None:
    """Where everybody writes: our name is a second one of somebody's file while it is opened, and not when it is asked.

    Nor does it help to give the name back before the next question.
    """
    path, victim = tmp_path / "x.errors.jsonl", tmp_path / "victim"
    victim.write_bytes(VICTIM)
    path.hardlink_to(victim)
    tmp_path.chmod(0o1777)
    look = os.fstat

    def swapped(fd: int) -> os.stat_result:
        if path.exists() and path.samefile(victim):
            path.unlink()
        status = look(fd)
        if again and not path.exists():
            path.hardlink_to(victim)
        return status

    monkeypatch.setattr(os, "fstat", swapped)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    if again:
        with pytest.raises(UnfitError, match="second name"):
            open_regular(path, flags)
    else:  # a new one was made
        os.close(open_regular(path, flags))
        assert not path.samefile(victim)


def test_a_name_that_is_exchanged_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everybody writes: what is open and what has the name are one file, or neither is used."""
    path = tmp_path / "x.state.json"
    path.write_bytes(b"{}")
    tmp_path.chmod(0o1777)
    opened = os.open

    def swapped(*args: Any, **named: Any) -> int:
        fd = opened(*args, **named)
        (tmp_path / "other").write_bytes(b"planted")
        (tmp_path / "other").rename(path)
        return fd

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(UnfitError, match="again and again"):
        open_regular(path)


def test_a_small_file_is_read_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state file of gigabytes is not read into memory."""
    monkeypatch.setattr("batcher.opening.SMALL", 10)
    path = tmp_path / "x.state.json"
    path.write_bytes(b"x" * 10)
    assert read_small(path) == b"x" * 10
    path.write_bytes(b"x" * 11)
    with pytest.raises(UnfitError, match="larger than"):
        read_small(path)


NAMES = {
    "answers.jsonl": ["answers.errors.jsonl", "answers.state.json", "answers.quarantine", "answers.images"],
    "answers.jsonl.part": ["answers.errors.jsonl", "answers.state.json", "answers.quarantine", "answers.images"],
    "out.m1": ["out.m1.errors.jsonl", "out.m1.state.json", "out.m1.quarantine", "out.m1.images"],
    "out.ndjson": ["out.ndjson.errors.jsonl", "out.ndjson.state.json", "out.ndjson.quarantine", "out.ndjson.images"],
    "llama3.1-8b": ["llama3.1-8b.errors.jsonl", "llama3.1-8b.state.json"],
    ".jsonl.jsonl": [".jsonl.errors.jsonl", ".jsonl.state.json"],
}


@pytest.mark.parametrize("output", NAMES)
def test_names_beside_the_results(tmp_path: Path, output: str) -> None:
    """The output's name less `.jsonl`, and nothing else off it."""
    makers = (naming.errors_path, naming.state_path, naming.quarantine_path, naming.images_path)
    assert [make(tmp_path / output).name for make in makers][: len(NAMES[output])] == NAMES[output]


def test_outputs_that_differ_behind_a_point_share_nothing(desk: Desk, sim: Simulator) -> None:
    """Results for two models side by side have errors and states of their own."""
    desk.write("jobs.jsonl", *prompts(["good"]), *prompts(["bad"], "do=400"))
    for model in ("out.m1", "out.m2"):
        assert run(desk, sim, "-o", model, "--retries", "0").code == 3
    assert {"out.m1.errors.jsonl", "out.m2.errors.jsonl", "out.m1.state.json", "out.m2.state.json"} <= {
        path.name for path in desk.path.iterdir()
    }


@pytest.mark.parametrize(("first", "second"), [("answers", "answers.jsonl"), ("answers.jsonl", "answers")])
def test_outputs_that_would_share_files(desk: Desk, sim: Simulator, first: str, second: str) -> None:
    """The second is refused, before it asks or writes anything; what is no results file is in nobody's way."""
    desk.write("jobs.jsonl", *prompts(names(1)))
    (desk.path / first).write_bytes(b"some notes\n")
    assert run(desk, sim, "-o", second).code == 0
    (desk.path / second).unlink()
    (desk.path / first).unlink()
    assert run(desk, sim, "-o", first).code == 0
    asked = sim.tally.counts.total()
    ran = run(desk, sim, "-o", second)
    assert ran.code == 73, ran.err
    assert first in ran.err
    assert not (desk.path / second).exists()
    assert sim.tally.counts.total() == asked
    assert run(desk, sim, "-o", first).code == 0


def test_names_of_an_earlier_version_are_taken_up(desk: Desk, sim: Simulator) -> None:
    """The state and the errors beside `out.v1` were `out.…` before: they are taken over with what they know."""
    desk.write("jobs.jsonl", *prompts(["good"]), *prompts(["bad"], "do=400"))
    assert run(desk, sim, "-o", "out.v1", "--retries", "0").code == 3
    for kind in ("state.json", "errors.jsonl"):
        (desk.path / f"out.v1.{kind}").rename(desk.path / f"out.{kind}")
    ran = desk.call("verify", "jobs.jsonl", "out.v1", "--json")
    assert orjson.loads(ran.out)["findings"]["failed"]["count"] == 1
    asked = sim.tally.counts.total()
    assert run(desk, sim, "-o", "out.v1", "--skip-failed").code == 3
    assert sim.tally.counts.total() == asked
    assert {path.name for path in desk.path.iterdir()} == {
        *("jobs.jsonl", "out.v1", "out.v1.state.json", "out.v1.errors.jsonl")
    }


@pytest.mark.parametrize("other", ["out", "out.jsonl", "out.v2"])
def test_names_that_another_has_too_stay(desk: Desk, sim: Simulator, other: str) -> None:
    """What may be the state and the errors of other results is left to them."""
    desk.write("jobs.jsonl", *prompts(["bad"], "do=400"))
    (desk.path / "out.v1").write_bytes(RESULT)
    (desk.path / other).write_bytes(RESULT)
    old = desk.write("out.errors.jsonl", {"id": "x", "error": {"class": "permanent", "code": "y"}})
    assert run(desk, sim, "-o", "out.v1", "--retries", "0").code == 3
    assert b'"x"' in old.read_bytes()
    assert list(desk.errors("out.v1.errors.jsonl")) == ["bad"]
