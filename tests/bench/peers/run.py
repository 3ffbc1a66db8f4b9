"""The benchmark of other clients: the CPU of theirs a job and a streamed record over batcher's, on the same server.

Each is used as its documentation shows, in a fresh process of an environment of its own, with as many jobs as take a
second or two; their answers are verified like batcher's, and a run of one job is taken off on both sides.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that it runs as a script, as `make bench-peers` does

from bench.case import HERE, IN_FLIGHT, Case, cases
from bench.clients import BATCHER, Script
from bench.measure import Side, compare, ratios
from bench.table import Row, Target, report

COLUMNS = ("peer", "batcher")
PEERS = HERE / "peers"


@dataclass(frozen=True)
class Peer:
    """One peer in one case: how many jobs, and by how much batcher is to be cheaper."""

    name: str
    script: str
    jobs: int
    target: Target | None = None
    flags: tuple[str, ...] = ()

    def client(self, python: Path) -> Script:
        return Script(self.name, PEERS / f"{self.script}.py", self.flags, str(python))


def at_least(times: float) -> Target:
    return Target(times, least=True)


AIOHTTP = ("--aiohttp",)
BY_CASE: dict[str, list[Peer]] = {
    "whole answer, /v1": [
        Peer("openai", "openai_sdk", 1000, at_least(18)),
        Peer("openai, aiohttp", "openai_sdk", 1000, flags=AIOHTTP),
        Peer("flexllm", "flexllm_batch", 10_000, at_least(7)),
        Peer("flexllm, no limit", "flexllm_batch", 10_000, flags=("--no-limit",)),
        Peer("async-batch-llm", "async_batch", 500),
        Peer("httpx", "httpx_loop", 300),
        Peer("litellm", "litellm_sdk", 300),
    ],
    "whole answer, native": [Peer("ollama", "ollama_sdk", 600)],
    "SSE, coalesced": [
        Peer("openai", "openai_sdk", 100, at_least(30)),
        Peer("openai, aiohttp", "openai_sdk", 100, flags=AIOHTTP),
        Peer("httpx", "httpx_loop", 200),
        Peer("litellm", "litellm_sdk", 20),
    ],
    "NDJSON, coalesced": [Peer("ollama", "ollama_sdk", 300)],
    "SSE, each its own packet": [Peer("openai", "openai_sdk", 64)],
    "NDJSON, each its own packet": [Peer("ollama", "ollama_sdk", 64)],
}


def measure(case: Case, peers: list[Peer], python: Path, turns: int, scale: float) -> list[Row]:
    """A row a peer. Here a slow peer may well be too busy for records that come one by one: that is its cost."""
    ours = Side.of(BATCHER, case)
    sides = [Side.of(peer.client(python), case.of(max(2, round(peer.jobs * scale)))) for peer in peers]
    compare([ours, *sides], turns)
    return [
        Row(
            f"{case.name}, a {case.unit}: {peer.name}",
            "CPU µs",
            {"peer": median(side.micros()), "batcher": median(ours.micros())},
            ratios(side, ours),
            "times batcher",
            peer.target,
            "" if ours.trouble == "CLIENT FULL" else ours.trouble,
            {"jobs": side.case.jobs, "start_cpu_s": round(side.start_cpu, 3)},
        )
        for peer, side in zip(peers, sides, strict=True)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="an interpreter that has requirements.txt installed")
    parser.add_argument("--quick", action="store_true", help="3 turns instead of 5")
    parser.add_argument("--turns", type=int, help="how often each side runs")
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual number of jobs")
    parser.add_argument("--only", default="", help="cases or peers with this in their names")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    arguments = parser.parse_args()
    turns = arguments.turns or (3 if arguments.quick else 5)

    rows: list[Row] = []
    for case in cases(arguments.scale):
        peers = [peer for peer in BY_CASE.get(case.name, []) if arguments.only in f"{case.name}: {peer.name}"]
        if peers:
            print(f"{case.name}: {', '.join(peer.name for peer in peers)}", file=sys.stderr, flush=True)
            rows += measure(case, peers, arguments.python.absolute(), turns, arguments.scale)

    return report(rows, COLUMNS, f"{IN_FLIGHT} in flight, {turns} turns", arguments.json)


if __name__ == "__main__":
    sys.exit(main())
