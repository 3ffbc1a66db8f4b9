"""The child process in which llama.cpp serves one model on a loopback port, until its parent (`local.py`) ends.

It takes its key from the first line of stdin, says its address in one line of stdout, and leaves when stdin ends.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from batcher.opening import open_regular
from batcher.redaction import Secret

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_METADATA_HEAD: Final = 1 << 20


def parameters(model: Path, slots: int, context: int, key: Secret | None, threads: int = 0) -> Any:
    """Build the `xllamacpp.CommonParams` of a server on a port of its own choosing, which answers who has the key.

    With 0 `threads` llama.cpp says how many. Without a key it answers everybody. Imports llama.cpp.
    """
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(model)
    settings.model_alias = {model.stem}
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.cors_origins = ""  # no page in a browser may read what it answers
    settings.ui = False
    settings.api_keys = [key.reveal()] if key is not None else []
    settings.endpoint_slots = False  # it shows the prompts that are being worked on
    settings.use_jinja = True  # tools and response formats need the model's own template
    settings.verbosity = 1  # errors
    settings.n_parallel = slots
    if threads:
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    settings.n_ctx = slots * context
    # With a cache a slot, llama.cpp cuts inputs of unequal length into several batches and pools the last piece alone:
    # a wrong vector wherever two inputs meet. One cache for all slots, each with its own limit, does not.
    settings.kv_unified = True
    settings.kv_unified_per_slot = context
    settings.cache_ram_mib = 0  # a batch seldom returns to an old prompt; the default keeps up to 8 GiB of them
    settings.embedding = True
    # llama.cpp embeds an input in one physical batch and refuses longer ones with 500: what fits a slot shall pass.
    # A multiple of the slots: with mean pooling, ggml aborts where the batch cannot be divided among them.
    settings.n_batch = settings.n_ubatch = -(-context // slots) * slots
    if not _names_pooling(model):
        settings.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN  # without one, embeddings get 400
    return settings


def _names_pooling(model: Path) -> bool:
    # An embedding model says how it pools, and another way would give wrong vectors. The key belongs to the
    # architecture's metadata, which llama.cpp's converter writes before the vocabulary, so the file's head decides.
    with os.fdopen(open_regular(model, follow=True), "rb") as file:
        return b".pooling_type" in file.read(_METADATA_HEAD)


def _follow_parent() -> Secret:
    """Read the key, and end this process as soon as its parent has ended, whichever way.

    The end of stdin says so everywhere, but Python's threads stand still while a model loads; Linux can also signal.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    key = _read_key()
    Thread(target=_leave_with_stdin, daemon=True).start()
    return key


def _read_key() -> Secret:
    """The first line of stdin; read byte by byte, as what is behind it belongs to whoever waits for the end."""
    read = b""
    while not read.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            os._exit(0)
        read += byte
    return Secret(read.decode().removesuffix("\n"))


def _leave_with_stdin() -> None:
    while os.read(0, 1):
        pass
    os._exit(0)


def _serve(model: str, slots: str, context: str, threads: str) -> None:
    """Live the child's life: load, say where, and answer until the parent ends."""
    announce = os.dup(1)
    os.dup2(2, 1)  # what llama.cpp prints belongs to the log and must not pass for the address
    key = _follow_parent()
    import xllamacpp

    try:
        server = xllamacpp.Server(parameters(Path(model), int(slots), int(context), key, int(threads)))
    except RuntimeError as error:
        sys.exit(str(error))
    os.write(announce, server.listening_address.encode())
    Event().wait()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
