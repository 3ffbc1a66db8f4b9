"""What a decision of the policy costs with many servers and much in flight, on a virtual clock: nothing is sent.

A decision is what one answer takes: the first content, its end, and the call that goes in its place. Each number is CPU
time of the steady state, after as many calls have been put in flight; what fails does so by lot, and a server that dies
breaks off all that is there. `--json FILE` writes the table.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script, as `make bench` does

from support.manyservers import STORIES, Load

if TYPE_CHECKING:
    from support.manyservers import Story

LANES: Final = (10, 100, 1_000)
IN_FLIGHT: Final = (1_000, 10_000, 100_000)
DECISIONS: Final = 20_000
GROWTH: Final = 2.5
"""What a decision may cost at 1,000 servers and 100,000 in flight, of one at 10 and 1,000: log n is 3 and 1.67 times as
much, and what lies farther apart in memory takes its time."""


def cost(lanes: int, in_flight: int, story: Story, decisions: int) -> float:
    """Microseconds of CPU a decision."""
    load = Load(lanes, in_flight, story)
    for _ in range(decisions // 10):
        load.decide()
    gc.collect()
    gc.disable()
    try:
        began = time.process_time()
        for _ in range(decisions):
            load.decide()
        return (time.process_time() - began) / decisions * 1e6
    finally:
        gc.enable()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=DECISIONS)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    found, is_good = [], True
    for story in STORIES:
        print(
            f"\n{story.name}: µs a decision\n\n| servers | "
            + " | ".join(f"{many:,} in flight" for many in IN_FLIGHT)
            + " |"
        )
        print("|--:|" + "--:|" * len(IN_FLIGHT))
        first = last = 0.0
        for lanes in LANES:
            row = []
            for in_flight in IN_FLIGHT:
                last = cost(lanes, in_flight, story, chosen.decisions)
                first = first or last
                row.append(last)
                found.append({"story": story.name, "lanes": lanes, "in_flight": in_flight, "us": last})
            print(f"| {lanes:,} | " + " | ".join(f"{each:.1f}" for each in row) + " |", flush=True)
        is_good &= last <= GROWTH * first
        print(f"\nthe last is {last / first:.2f} of the first (at most {GROWTH})")
    if chosen.json:
        chosen.json.write_text(json.dumps(found))
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
