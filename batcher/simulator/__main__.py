"""`python -m batcher.simulator`: prints the URL, then serves until stdin closes or SIGTERM comes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
from typing import Any

from batcher.simulator.server import Simulator


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m batcher.simulator", description=__doc__)
    add = parser.add_argument
    add("--port", type=int, default=0, help="0 takes a free one")
    add("--look", choices=("native", "openai"), default="native", help="an Ollama, or a llama.cpp without /api")
    add("--model", dest="models", action="append", help="a model that is there; repeatable (default: simulator)")
    add("--slots", type=int, help="requests in service at once; the rest wait (default: no limit)")
    add("--max-queue", type=int, help="requests that may wait; beyond them HTTP 503 (default: no limit)")
    add("--max-loaded", type=int, help="models that stay loaded (default: all)")
    add("--load", type=float, default=0.0, help="seconds to load a model")
    add("--token-delay", type=float, default=0.0, help="seconds between records")
    add("--prompt-delay", type=float, default=0.0, help="seconds before the first record")
    add("--key", help="HTTP 401 without this API key (it is no secret: the server is a fake)")
    add("--dims", type=int, default=8, help="numbers in an embedding")
    add("--default", default="", help='a directive for all prompts, such as "tokens=50 do=reset times=1"')
    add("--keep", type=int, default=1000, help="requests to remember")
    add("--forever", action="store_true", help="do not stop when stdin closes")
    return parser


async def serve(settings: dict[str, Any], *, forever: bool) -> None:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    async with Simulator(**settings) as simulator:
        sys.stdout.write(f"{simulator.url}\n")
        sys.stdout.flush()
        if not forever:
            threading.Thread(target=_await_end, args=(loop, over), daemon=True).start()
        await over.wait()


def _await_end(loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
    with contextlib.suppress(OSError):  # stdin may have been closed from the beginning
        while os.read(0, 4096):
            pass
    loop.call_soon_threadsafe(over.set)


def main() -> None:
    settings = vars(options().parse_args())
    settings["models"] = tuple(settings["models"] or ("simulator",))
    forever = settings.pop("forever")
    asyncio.run(serve(settings, forever=forever))


if __name__ == "__main__":
    main()
