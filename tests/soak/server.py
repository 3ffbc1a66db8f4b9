"""The server of a soak: a simulator that answers at once and writes down each request. It prints its URL."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # a process of its own, started by its path

from soak.faults import TOKENS
from soak.journal import JournalTally

from batcher.simulator import Settings, Simulator, serve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--token-delay", type=float, required=True)
    arguments = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it need not say that clients die

    def begin(simulator: Simulator) -> None:
        print(simulator.url, flush=True)

    settings = Settings(port=arguments.port, tokens=TOKENS, token_delay=arguments.token_delay)
    serve(settings, begin, tally=JournalTally(arguments.journal), until_stdin_ends=True)


if __name__ == "__main__":
    main()
