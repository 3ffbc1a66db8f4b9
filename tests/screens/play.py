"""Plays a state: its servers, its command on a terminal of its own, and the screen at the moment that is wanted."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson
import pyte
from support.echoserver import echoing

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from screens.states import Deed, State

    from batcher.simulator import BackgroundSimulator

PATIENCE: Final = 40.0
"""Seconds after which a moment that did not come is given up, and the screen taken as it is."""
NARROW: Final = 60
ROWS: Final = 40
ADDRESSES: Final = {"url": "127.0.0.1:11434", "other": "127.0.0.1:11435", "page": "127.0.0.1:18080"}
NOBODY: Final = "http://127.0.0.1:11439"
SETTLE: Final = 0.04
"""Seconds without output after which a screen is whole: a display is written in several pieces."""


class Seen(NamedTuple):
    """The screen, and how the command ended: `None` where it was ended after the screen was taken."""

    rows: list[str]
    code: int | None

    @classmethod
    def of(cls, rows: list[str], code: int | None, names: dict[str, str]) -> Seen:
        """With the addresses that the page has, which are as long as those that were."""
        for name, url in names.items():
            rows = [row.replace(url.partition("//")[2], ADDRESSES[name]) for row in rows]
        return cls(rows, code)


class Terminal:
    """A screen for a process, and all rows that scrolled off it."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.ours, self.theirs = pty.openpty()
        termios.tcsetwinsize(self.theirs, (ROWS, columns))
        self._screen = pyte.HistoryScreen(columns, ROWS, history=10_000, ratio=1.0)
        self._stream = pyte.ByteStream(self._screen)

    def take(self, seconds: float) -> bool | None:
        """Show what comes within a time: whether something did; `None` at the end."""
        if not select.select([self.ours], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(self.ours, 65536)
        except OSError:  # how Linux says that the other side is closed
            return None
        self._stream.feed(piece)
        return True if piece else None

    def narrow(self) -> None:
        self.columns = NARROW
        termios.tcsetwinsize(self.ours, (ROWS, NARROW))
        self._screen.resize(ROWS, NARROW)

    def rows(self) -> list[str]:
        top = self._screen.history.top
        gone = ["".join(row[place].data for place in range(self.columns)).rstrip() for row in top]
        found = gone + [row.rstrip() for row in self._screen.display]
        while found and not found[-1]:
            found.pop()
        return found


def play(state: State, where: Path, package: Path | None = None) -> Seen:
    """Play it in an empty directory, with this package or with another one's code."""
    with ExitStack() as stack:
        servers, names = servers_of(state, stack)
        furnish(state, where)
        environ = {"PATH": os.environ["PATH"], "HOME": str(where), "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        environ |= variables(state, names) | ({} if package is None else {"PYTHONPATH": str(package)})
        for args in state.before:
            _end(_start(args, where, environ))
        if state.beside:
            beside = _start(state.beside, where, environ)
            stack.callback(_kill, beside)
            _await_first(where)
        args = tuple(word.format(**names) for word in (*state.args, *state.more))
        rows, code = _watch(state, args, where, environ, servers)
        return Seen.of(rows, code, names)


def servers_of(state: State, stack: ExitStack) -> tuple[list[BackgroundSimulator], dict[str, str]]:
    """Its servers, until the stack is left, and the addresses by which it calls them."""
    settings = [one for one in (state.server, state.other) if one is not None]
    servers = [stack.enter_context(simulator_thread(**{"models": ("llama3.2",), **one})) for one in settings]
    names = {"url": NOBODY, "other": NOBODY}
    names |= dict(zip(names, (server.url for server in servers), strict=False))
    if any("{page}" in value for value in state.env.values()):
        page = stack.enter_context(echoing(200, body=b"<html>It works!</html>", **{"Content-Type": "text/html"}))
        names["page"] = page.url
    return servers, names


def furnish(state: State, where: Path) -> None:
    """The files that it finds."""
    (where / "prompts.jsonl").write_bytes(b"".join(orjson.dumps(job) + b"\n" for job in state.jobs))
    for name, text in state.files.items():
        (where / name).write_text(text)


def variables(state: State, names: dict[str, str]) -> dict[str, str]:
    """What it is told by the environment: its server too, unless it names one itself."""
    usual = {} if "--base-url" in state.more else {"BATCHER_BASE_URL": names["url"]}
    return usual | {name: value.format(**names) for name, value in state.env.items()}


def _start(  # noqa: PLR0917 - the three streams in their order
    args: Sequence[str],
    where: Path,
    environ: dict[str, str],
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "batcher", *args]
    return subprocess.Popen(command, cwd=where, env=environ, stdin=stdin, stdout=stdout, stderr=stderr)


def _end(process: subprocess.Popen[bytes]) -> None:
    with process:
        process.wait(PATIENCE)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with process:
        process.send_signal(signal.SIGKILL)


def _await_first(where: Path) -> None:
    """Wait until a run has an answer on the disk, and has said in its state how it stands."""
    deadline = time.monotonic() + PATIENCE
    results = where / "answers.jsonl"
    while not (results.exists() and results.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(2.5)


def _watch(
    state: State, args: tuple[str, ...], where: Path, environ: dict[str, str], servers: list[BackgroundSimulator]
) -> tuple[list[str], int | None]:
    if state.terminal == "none":
        return _unseen(args, where, environ)
    terminal = Terminal(state.columns)
    both = state.terminal == "both" or args[0] != "run" or "--print-config" in args
    reader, writer = os.pipe()
    os.write(writer, (where / "prompts.jsonl").read_bytes())
    os.close(writer)
    process = _start(args, where, environ, reader, terminal.theirs if both else subprocess.DEVNULL, terminal.theirs)
    os.close(reader)
    os.close(terminal.theirs)
    with process:
        try:
            rows = _until(state, terminal, process, servers)
            if rows is not None:
                return rows, None
            return terminal.rows(), process.wait(PATIENCE)
        finally:
            if process.poll() is None:
                process.kill()
            os.close(terminal.ours)


def _unseen(args: tuple[str, ...], where: Path, environ: dict[str, str]) -> tuple[list[str], int | None]:
    done = subprocess.run(
        [sys.executable, "-m", "batcher", *args],
        cwd=where,
        env=environ,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.stderr.decode().splitlines(), done.returncode


def _until(
    state: State, terminal: Terminal, process: subprocess.Popen[bytes], servers: list[BackgroundSimulator]
) -> list[str] | None:
    """The rows when they first show what is wanted; `None` if the command ended before, or that was wanted."""
    deeds = list(state.deeds)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (came := terminal.take(SETTLE)) is None:
            return None
        if came:
            continue  # the drawing is not whole
        text = "\n".join(terminal.rows())
        if deeds and re.search(deeds[0][0], text):
            _do(deeds.pop(0)[1], terminal, process, servers)
        elif not deeds and state.at and re.search(state.at, text):
            return terminal.rows()
    return terminal.rows()


def _do(deed: Deed, terminal: Terminal, process: subprocess.Popen[bytes], servers: list[BackgroundSimulator]) -> None:
    match deed:
        case "kill":
            servers[-1].kill()
        case "freeze":
            servers[-1].suspend()
        case "interrupt":
            process.send_signal(signal.SIGINT)
        case "ask":
            process.send_signal(signal.SIGUSR1)
        case "narrow":
            terminal.narrow()
