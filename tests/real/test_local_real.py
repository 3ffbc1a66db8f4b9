"""The embedded server with a real model: it serves, and it never outlives whoever started it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import pytest

from batcher.failures import ConfigError
from batcher.servers.local import LocalServer, default_model

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.slow, pytest.mark.real]

PATIENCE = 30.0

# Prints the server's pid as soon as it has one, then its URL, then waits to be killed. With `fork` it first makes a
# child that holds copies of its pipes, and prints that one's pid too.
PARENT = textwrap.dedent("""
    import anyio, os, signal, sys
    from batcher.servers.local import LocalServer

    async def tell_pid(server):
        while server.pid is None:
            await anyio.sleep(0.001)
        print(server.pid, flush=True)

    async def main():
        server = LocalServer(slots=1, context=256)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tell_pid, server)
            async with server:
                print(server.url, flush=True)
                if "fork" in sys.argv:
                    print(os.fork() or signal.pause(), flush=True)
                await anyio.sleep_forever()

    anyio.run(main)
""")


def small() -> LocalServer:
    return LocalServer(slots=1, context=256)


async def post(server: LocalServer, path: str, body: dict[str, Any] | None = None, key: str | None = None) -> Any:
    """The JSON that a GET, or a POST of `body`, answers; with the server's own key if no other is given."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key or server.key.reveal()}"}
    request = urllib.request.Request(server.url + path, data, headers)

    def call() -> Any:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return json.load(response)

    return await anyio.to_thread.run_sync(call)


def gone(pid: int) -> bool:
    """Whether the process has ended; one that nobody has reaped yet has ended too."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return not state.strip() or state.startswith("Z")


def refused(url: str) -> bool:
    """Whether nobody listens at `url` any more."""
    address = urlsplit(url)
    try:
        socket.create_connection((str(address.hostname), address.port or 0), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for what an orphan does in its own time: nobody is left to wait for it."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_it_serves_the_model_under_its_name() -> None:
    """Once entered it answers on the given URL, for chat and embeddings alike, under the file's name."""

    async def main() -> None:
        async with small() as server:
            models = await post(server, "/models")
            assert [model["id"] for model in models["data"]] == [server.model_name] == [default_model().stem]
            ask = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
            chat = await post(server, "/chat/completions", ask)
            assert chat["choices"][0]["message"]["content"]
            vectors = await post(server, "/embeddings", {"input": ["one", "two"]})
            assert [len(each["embedding"]) for each in vectors["data"]] == [576, 576]

    anyio.run(main)


def test_an_input_as_long_as_a_slot_can_be_embedded() -> None:
    """The batch is as long as a slot, where llama.cpp's own default refuses inputs above 512 tokens."""

    async def main() -> None:
        async with LocalServer(slots=1, context=1024) as server:
            answer = await post(server, "/embeddings", {"input": ["word " * 560]})
            assert answer["usage"]["prompt_tokens"] > 512

    anyio.run(main)


def test_it_starts_in_a_session_of_its_own_without_our_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal's Ctrl-C does not reach the child, nor do the keys in our environment."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("LC_TIME", "C")

    async def main() -> None:
        async with small() as server:
            assert server.pid is not None
            assert os.getsid(server.pid) == server.pid
            shown = await anyio.run_process(["ps", "eww", "-o", "command=", "-p", str(server.pid)])
            assert b"LC_TIME=C" in shown.stdout
            assert b"sk-secret" not in shown.stdout

    anyio.run(main)


def test_no_other_child_inherits_the_lifeline() -> None:
    """Another child that held the pipe's end would keep the server alive after we are gone."""

    def inheritable() -> list[int]:
        return [fd for fd in range(3, 256) if _open(fd) and os.get_inheritable(fd)]

    async def main() -> None:
        before = inheritable()
        async with small():
            assert inheritable() == before

    anyio.run(main)


WORK = (
    "/chat/completions",
    "/completions",
    "/responses",
    "/embeddings",
    "/../completion",
    "/../tokenize",
    "/../infill",
)
SHOWN = ("/models", "/../models", "/../slots", "/../slots?fail_on_no_slot=1", "/../props", "/../metrics", "/../nowhere")


async def status(server: LocalServer, path: str, headers: dict[str, str]) -> int:
    """The status of the answer to somebody with these headers; what it says is closed unread."""
    asked = {"messages": [{"role": "user", "content": "Hi"}], "prompt": "Hi", "input": "Hi", "max_tokens": 1}
    url = server.url.removesuffix("/v1") + path.removeprefix("/..") if path.startswith("/..") else server.url + path
    data = json.dumps(asked).encode() if path in WORK else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})

    def call() -> int:
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    return await anyio.to_thread.run_sync(call)


def test_it_answers_nobody_else() -> None:
    """Who does not know the key gets 401 wherever there is work or anything to see, and nobody sees prompts."""

    async def main() -> None:
        async with small() as server:
            key = server.key.reveal()
            for wrong in ("", "x", key[:-1], f"{key}x", key.swapcase()):
                for header in ({}, {"Authorization": f"Bearer {wrong}"}, {"X-Api-Key": wrong}):
                    for path in (*WORK, *SHOWN):
                        assert await status(server, path, header) == 401, (path, header)
            right = {"Authorization": f"Bearer {key}"}
            assert [await status(server, path, right) for path in ("/models", "/completions")] == [200, 200]
            assert [await status(server, path, right) for path in ("/../slots", "/../metrics")] == [501, 501]

    anyio.run(main)


def test_its_key_is_its_own_and_stands_nowhere() -> None:
    """Each has another one, which is neither among the arguments nor in the environment, nor shown by chance."""

    async def main() -> None:
        async with small() as server:
            shown = await anyio.run_process(["ps", "eww", "-o", "command=", "-p", str(server.pid)])
            assert b"batcher.servers.llamacpp" in shown.stdout
            assert server.key.reveal().encode() not in shown.stdout
            assert server.key.reveal() not in f"{server.key!r} {server.key}"

    anyio.run(main)
    assert len({small().key.reveal() for _ in range(3)}) == 3


@pytest.mark.parametrize("ending", ["normal", "exception", "cancel", "cancel while loading"])
def test_it_goes_with_the_block(ending: str) -> None:
    """However the block ends, the process is gone and its port refuses once it has been left."""
    server = small()
    pids: list[int | None] = []

    async def inside(scope: anyio.CancelScope) -> None:
        pids.append(server.pid)
        if ending == "exception":
            raise LookupError
        if ending == "cancel":
            scope.cancel()
            await anyio.sleep_forever()

    async def cancel_early(scope: anyio.CancelScope) -> None:
        while server.pid is None:  # noqa: ASYNC110 - a process on its way has no event
            await anyio.sleep(0.001)
        pids.append(server.pid)
        scope.cancel()

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            if ending == "cancel while loading":
                tasks.start_soon(cancel_early, tasks.cancel_scope)
            async with server:
                await inside(tasks.cancel_scope)

    if ending == "exception":
        with pytest.raises(ExceptionGroup) as caught:
            anyio.run(main)
        assert caught.group_contains(LookupError)
    else:
        anyio.run(main)
    assert len(pids) == 1
    assert pids[0] is not None
    assert not server.alive
    assert gone(pids[0])
    if ending == "cancel while loading":
        assert server.url == ""
    else:
        assert refused(server.url)


def test_a_crash_shows() -> None:
    """When the server dies inside the block, `alive` says so and leaving is clean."""

    async def main() -> None:
        async with small() as server:
            assert server.alive
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            with anyio.fail_after(PATIENCE):
                await server.wait()
            assert not server.alive

    anyio.run(main)


@pytest.mark.parametrize("moment", ["ready", "loading"])
def test_it_dies_with_a_killed_parent(moment: str) -> None:
    """`kill -9` of the parent, at work or while the model loads, leaves no server behind."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        url = parent.stdout.readline().strip() if moment == "ready" else None
        parent.kill()
    eventually(lambda: gone(pid))
    if url is not None:
        eventually(lambda: refused(url))


def test_it_dies_with_its_lifeline() -> None:
    """The end of stdin alone ends the server: macOS has no death signal."""
    command = [sys.executable, "-m", "batcher.servers.llamacpp", str(default_model()), "1", "256", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"key of this run\n")
        child.stdin.flush()
        address = os.read(child.stdout.fileno(), 4096).decode()
        child.stdin.close()
        assert child.wait(PATIENCE) == 0
    assert refused(address)


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_it_dies_with_a_killed_parent_whose_pipes_live_on() -> None:
    """A process forked off the parent holds the lifeline too, so the kernel has to tell the server."""
    command = [sys.executable, "-W", "ignore", "-c", PARENT, "fork"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, url, forked = (parent.stdout.readline().strip() for _ in range(3))
        try:
            parent.kill()
            eventually(lambda: gone(int(pid)))
            eventually(lambda: refused(url))
        finally:
            os.kill(int(forked), signal.SIGKILL)


def test_a_kill_while_loading_is_named() -> None:
    """What the kernel does to a model too large for memory is told by the signal's name."""
    server = small()

    async def kill() -> None:
        while server.pid is None:  # noqa: ASYNC110 - a process on its way has no event
            await anyio.sleep(0.001)
        os.kill(server.pid, signal.SIGKILL)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kill)
            with pytest.raises(ConfigError, match="was killed by SIGKILL"):
                await server.__aenter__()

    anyio.run(main)


@pytest.mark.parametrize("slots", [3, 5])
def test_a_number_of_slots_that_does_not_divide_the_context(slots: int) -> None:
    """The server starts with any number of slots; with mean pooling ggml aborts where a batch cannot be divided."""

    async def start() -> bool:
        async with LocalServer(slots=slots) as server:
            return server.alive

    assert anyio.run(start)
