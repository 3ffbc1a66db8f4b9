"""Files that the user names beside the input: regular ones or pipes, bounded, and a signal ends the waiting for one."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from support.commandline import Desk, ended, running, until

from batcher import opening
from batcher.opening import UnfitError, read_given, write_given
from batcher.simulator import Simulator, simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPTIONS: dict[str, tuple[str, bytes]] = {
    "--config": ("{}", b'model = "simulator"\n'),
    "--env-file": ("{}", b"NAME=value\n"),
    "--api-key-file": ("{}", b"sk-simulator\n"),
    "--prompt": ("@{}", b"@Say {{ text }}"),
    "--system": ("@{}", b"Be brief."),
    "--messages": ("@{}", b'[{"role":"user","content":"{{ text }}"}]'),
    "--schema": ("{}", b'{"type":"object"}'),
    "--price-file": ("{}", b"[simulator]\nin = 1\n"),
    "--done-from": ("{}", b'{"id":"b","seq":1,"hash":"0123456789abcdef","text":"x"}\n'),
}
"""How each of them names its file, and what may stand there."""
ROW = {"id": "a", "text": "hello"}


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with simulator_thread() as simulator:
        yield simulator


def arguments(sim: Simulator, option: str, path: Path | str) -> list[str]:
    asks = [] if option in ("--prompt", "--messages") else ["--prompt", "{{ text }}"]
    value = OPTIONS[option][0].format(path)
    server = ["--base-url", sim.url, "-m", "simulator", "-o", "results.jsonl", "--no-progress"]
    more = {"--price-file": ["--estimate", "1"], "--schema": ["--param", "x-answer=1"]}.get(option, [])
    return ["run", "rows.jsonl", *server, *asks, *more, option, value]


@contextmanager
def substituted(data: bytes) -> Iterator[str]:
    """What a shell makes of `<(…)`: a pipe by the name of a descriptor, which can be read once."""
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb") as file:
            file.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield f"/dev/fd/{reader}"
    finally:
        thread.join()
        os.close(reader)


@pytest.mark.parametrize("option", OPTIONS)
def test_a_pipe_in_the_place_of_a_file(desk: Desk, sim: Simulator, option: str) -> None:
    """It is read once, and all that want it have it."""
    desk.write("rows.jsonl", ROW)
    with substituted(OPTIONS[option][1]) as path:
        ran = desk.call(*arguments(sim, option, path))
    assert ran.code == 0, ran.err
    assert desk.ids() == ["a"]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kind", ["a device", "a directory"])
def test_what_is_no_file_is_refused(desk: Desk, sim: Simulator, option: str, kind: str) -> None:
    """`/dev/zero` has no end."""
    desk.write("rows.jsonl", ROW)
    ran = desk.call(*arguments(sim, option, "/dev/zero" if kind == "a device" else desk.path))
    assert ran.code in (2, 65, 78)
    assert any(word in ran.err.lower() for word in (kind, "is a directory"))
    assert desk.lines() == []


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_a_signal_ends_the_waiting_for_a_pipe(desk: Desk, sim: Simulator, option: str) -> None:
    """Nobody writes, and nobody has to kill the run for it."""
    desk.write("rows.jsonl", ROW)
    os.mkfifo(desk.path / "pipe")
    writers: list[int] = []

    def is_open() -> bool:
        with suppress(OSError):  # as long as nobody reads
            writers.append(os.open(desk.path / "pipe", os.O_WRONLY | os.O_NONBLOCK))
        return bool(writers)

    with running(desk.start(*arguments(sim, option, "pipe"))) as process:
        until(is_open)
        process.send_signal(signal.SIGTERM)
        ran = ended(process)
    os.close(writers[0])
    assert ran.code == -signal.SIGTERM
    assert desk.lines() == []


def test_what_is_read_whole_is_bounded(tmp_path: Path) -> None:
    """Of a file and of a pipe alike; `/dev/null` is the empty file that it is used for."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    assert read_given(path, 1000) == b"x" * 1000
    with pytest.raises(UnfitError, match="larger than 999 bytes"):
        read_given(path, 999)
    with substituted(b"x" * 1000) as name, pytest.raises(UnfitError, match="larger than 999 bytes"):
        read_given(tmp_path / name, 999)
    assert read_given(tmp_path / os.devnull) == b""


def test_whoever_waits_for_a_pipe_looks_up(tmp_path: Path) -> None:
    """What the checkpoint raises ends the waiting, for the first byte as for those after it."""
    os.mkfifo(tmp_path / "pipe")

    def leave() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_given(tmp_path / "pipe", 10, leave)
    reader, writer = os.pipe()
    os.write(writer, b"abc")
    with pytest.raises(KeyboardInterrupt):
        read_given(tmp_path / f"/dev/fd/{reader}", 10, leave)
    os.close(reader)
    os.close(writer)


def test_the_summary_goes_to_who_reads(desk: Desk, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that nobody reads costs the run its summary and its code, and the results are told as ever."""
    desk.write("rows.jsonl", ROW)
    os.mkfifo(desk.path / "pipe")
    ran = desk.call(*arguments(sim, "--system", "x")[:-2], "--summary-json", "pipe")
    assert ran.code == 74
    assert "has nobody who reads it" in ran.err
    assert desk.ids() == ["a"]
    reader, writer = os.pipe()
    again = desk.call(*arguments(sim, "--system", "x")[:-2], "--summary-json", f"/dev/fd/{writer}")
    assert again.code == 0
    assert os.read(reader, 65536).startswith(b'{\n  "')
    monkeypatch.setattr(opening, "TAKEN", 0.01)
    with pytest.raises(UnfitError, match="was not read"):
        write_given(desk.path / f"/dev/fd/{writer}", b"x" * (1 << 20))
    os.close(reader)
    os.close(writer)


TYPED: dict[str, list[str]] = {
    "input": ["run", "{}", "--prompt", "x"],
    "results": ["run", "rows.jsonl", "--prompt", "x", "-o", "{}"],
    "errors": ["run", "rows.jsonl", "--prompt", "x", "-o", "out.jsonl", "--errors", "{}"],
    "a database for results": ["run", "rows.jsonl", "--prompt", "x", "-o", "sqlite:{}"],
    "a database": ["run", "sqlite:{}", "--sql", "SELECT 1 AS x", "-o", "out.jsonl", "--prompt", "x"],
    "a model": ["run", "rows.jsonl", "--local", "{}"],
    "verify": ["verify", "rows.jsonl", "{}", "-m", "simulator"],
    "verify what": ["verify", "{}", "results.jsonl", "-m", "simulator"],
    "export": ["export", "{}", "-o", "out.csv"],
    "check": ["check", "{}"],
}


@pytest.mark.parametrize("name", TYPED)
@pytest.mark.parametrize("kind", ["too long", "links in a circle"])
def test_a_name_that_leads_nowhere(desk: Desk, sim: Simulator, name: str, kind: str) -> None:
    """One that no file can have, and links that go round: a sentence of what is wrong and a code, and no traceback."""
    desk.write("rows.jsonl", ROW)
    (desk.path / "round").symlink_to("round")
    typed = "m" * 100_000 if kind == "too long" else "round"
    command = [part.replace("{}", typed) for part in TYPED[name]]
    server = [] if command[0] in ("verify", "export") else ["-m", "simulator", "--base-url", sim.url]
    if name == "a model":
        server = ["-o", "out.jsonl", "-m", "simulator"]
    ran = desk.call(*command, *server)
    assert ran.code in (2, 65, 73, 74, 78), ran.err
    assert max(map(len, ran.err.splitlines())) < 2000
