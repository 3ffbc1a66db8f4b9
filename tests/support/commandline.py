"""The program as its users have it: a process of its own, in a directory and an environment of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import jsonschema
import orjson
import pytest

from batcher.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PROJECT = Path(__file__).parents[2]
WAIT = 20.0
"""Seconds after which a process that should have ended, or something that should have come, is given up."""

THREADS = {"OMP_WAIT_POLICY": "passive"}
"""Threads of llama.cpp wait for each other in a loop, which costs ten times the work where cores are shared."""


class Ran(NamedTuple):
    """How a process ended: its code (negative: the signal), and what it said."""

    code: int
    out: str
    err: str


class Desk:
    """A directory to work in. Lines that are read back are held against the schema of results."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = {"PATH": os.environ["PATH"], "HOME": str(path), "LANG": "C.UTF-8", "COLUMNS": "120"} | THREADS

    def command(self, *args: str | Path) -> list[str]:
        # Without -W the warnings of our own code about files left open, and the like, would not be seen.
        return [sys.executable, "-W", "error", "-m", "batcher", *map(str, args)]

    def start(self, *args: str | Path, env: dict[str, str] | None = None, **settings: Any) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            self.command(*args), cwd=self.path, env=self.env | (env or {}), text=True, **pipes | settings
        )

    def run(
        self, *args: str | Path, env: dict[str, str] | None = None, stdin: str | None = None, patience: float = WAIT
    ) -> Ran:
        """Run `batcher ARGS` to its end. A traceback, or a warning at exit, fails the test."""
        pipe = {} if stdin is None else {"stdin": subprocess.PIPE}
        return ended(self.start(*args, env=env, **pipe), stdin, patience)

    def call(self, *args: str | Path, env: dict[str, str] | None = None) -> Ran:
        """As `run`, within this process: ten times as fast, for tables of many command lines."""
        out, err = StringIO(), StringIO()
        with (
            mock.patch.dict(os.environ, self.env | (env or {}), clear=True),
            mock.patch.object(sys, "argv", ["batcher", *map(str, args)]),
            mock.patch("batcher.commands.single.gc"),
            chdir(self.path),
            redirect_stdout(out),
            redirect_stderr(err),
            pytest.raises(SystemExit) as end,
        ):
            main()
        return Ran(int(end.value.code or 0), out.getvalue(), err.getvalue())

    def write(self, name: str, *lines: dict[str, Any]) -> Path:
        path = self.path / name
        path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
        return path

    def lines(self, name: str = "results.jsonl") -> list[dict[str, Any]]:
        """The lines of a results or errors file, in their order; none if there is no such file."""
        path = self.path / name
        return read_lines(path.read_text()) if path.exists() else []

    def ids(self, name: str = "results.jsonl") -> list[str]:
        """The ids of its lines, sorted: one that stands there twice shows."""
        return sorted(line["id"] for line in self.lines(name))

    def errors(self, name: str = "results.errors.jsonl") -> dict[str, str]:
        """Id → code of the errors file."""
        lines = self.lines(name)
        assert len({line["id"] for line in lines}) == len(lines)
        return {line["id"]: line["error"]["code"] for line in lines}

    def check_files(self) -> None:
        """Hold every results and errors file against the schema."""
        for path in [*self.path.rglob("*results*.jsonl"), *self.path.rglob("*errors*.jsonl")]:
            read_lines(path.read_text())


def read_lines(text: str) -> list[dict[str, Any]]:
    *whole, rest = text.split("\n")  # not splitlines: U+2028 is data
    assert rest == ""
    lines = [json.loads(line) for line in whole]
    for line in lines:
        _schema().validate(line)
    return lines


@cache
def _schema() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(orjson.loads((PROJECT / "docs/results.schema.json").read_bytes()))


def ended(process: subprocess.Popen[str], stdin: str | None = None, patience: float = WAIT) -> Ran:
    try:
        out, err = process.communicate(stdin, timeout=patience)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    assert "Traceback" not in err, err
    assert "Warning" not in err, err
    return Ran(process.returncode, out or "", err)


@contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive the block, whatever happens in it."""
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)


def next_words(stream: IO[str]) -> str:
    """The next line that a run says, but for what it takes its input for."""
    while re.match(r"batcher: .* to /(api|v1)/", line := stream.readline()):
        pass
    return line


def until(condition: Callable[[], object], patience: float = WAIT) -> None:
    """Wait for what another process is about to do."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def prompts(names: Sequence[str], directive: str = "") -> list[dict[str, Any]]:
    """One job a name, counted at the simulator under that name."""
    return [{"id": name, "prompt": f"[[sim id={name} {directive}]]"} for name in names]


def names(count: int) -> list[str]:
    return [f"q{number:03d}" for number in range(count)]
