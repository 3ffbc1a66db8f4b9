"""Starts real llama.cpp servers for tests and runs jobs on them in this process.

Run as a program it serves a model, with a chat template of `record_wire.py` if it is named one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from support.commandline import Desk, read_lines

import batcher
from batcher.servers.llamacpp import parameters
from batcher.servers.local import default_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TESTS = Path(__file__).parents[1]
SLOTS = 4
CONTEXT = 512
MODEL = "demo"  # llama.cpp answers whatever the name


@contextmanager
def serving(template: str = "", model: Path | None = None) -> Iterator[str]:
    """The base URL of a server with four slots of 512 tokens; `template` names one of `record_wire.py`."""
    with server_process(template, model) as (url, _):
        yield url


@contextmanager
def server_process(template: str = "", model: Path | None = None) -> Iterator[tuple[str, int]]:
    """The same, with the id of its process. Raises RuntimeError with its last words if it does not get so far."""
    command = [sys.executable, "-m", "support.realserver", template, str(model or default_model())]
    pipe = subprocess.PIPE
    with (
        TemporaryFile() as said,
        subprocess.Popen(command, cwd=TESTS, stdin=pipe, stdout=pipe, stderr=said) as child,
    ):
        assert child.stdout is not None
        try:
            # The address comes in one write, without a line end.
            address = os.read(child.stdout.fileno(), 4096).decode()
            if not address:
                code = child.wait()
                said.seek(0)
                raise RuntimeError(f"the server ended with {code}: {said.read()[-2000:].decode(errors='replace')}")
            yield f"{address}/v1", child.pid
        finally:
            child.kill()


def answers(url: str, folder: Path, jobs: Iterable[dict[str, Any]], **options: Any) -> dict[str, dict[str, Any]]:
    """The result lines, by id, of jobs that must all succeed: one after the other, unless `concurrency` says more."""
    folder.mkdir(exist_ok=True)
    desk = Desk(folder)
    source = desk.write("jobs.jsonl", *jobs)
    return results_of(source, folder / "results.jsonl", base_url=url, **options)


def results_of(source: Path, results: Path, **options: Any) -> dict[str, dict[str, Any]]:
    """As `answers`, of an input file."""
    summary = batcher.run(source, results, **{"model": MODEL, "concurrency": 1, **options})
    assert summary.exit_code() == 0, summary.render(results, None)
    found = read_lines(results.read_text())
    assert len({line["id"] for line in found}) == len(found)
    return {line["id"]: line for line in found}


def _serve(template: str, model: str) -> None:
    import xllamacpp
    from support import record_wire

    settings = parameters(Path(model), SLOTS, CONTEXT, None)  # the embedded server's own
    settings.chat_template = getattr(record_wire, template) if template else ""
    # Threads of llama.cpp wait for each other in a loop: where cores are shared, two are many times slower than one.
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(settings)
    os.write(1, server.listening_address.encode())
    while os.read(0, 1):  # until whoever started this is gone
        pass
    os._exit(0)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
