"""Feeds mutated inputs to all that reads what others wrote, for so many minutes, and prints what it found.

No crash, no hang, no line that cannot be read back. A finding is printed as a line of the corpus, made as short as two
seconds allow; the same seed makes the same cases.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
import traceback
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # so that it runs as a script, as `make fuzz` does

from fuzz.mutation import Mutator, honest
from fuzz.readers import READERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fuzz.case import Case

HANG: Final = 5.0
"""Seconds of CPU that one input may take."""
SHORTEN: Final = 2.0
"""Seconds for making a finding shorter."""
FINDINGS: Final = 20
"""Findings, each of another kind, after which it ends."""


class HangError(Exception):
    """An input took too long."""


@contextmanager
def bounded() -> Iterator[None]:
    """Raise HangError in what takes more than `HANG` seconds of CPU."""

    def stop(*_: object) -> None:
        raise HangError(f"more than {HANG:g} s")

    signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def fault(case: Case) -> str | None:
    """What came of a case that should not have, and where; None if nothing."""
    try:
        with bounded():
            READERS[case.reader](case)
    except (Exception, RecursionError) as error:  # noqa: BLE001 - whatever it is, it is a finding
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {error}"[:300]
    return None


def shortened(case: Case, kind: str) -> Case:
    """A shorter case of the same kind, found by leaving pieces out."""
    deadline, size = time.monotonic() + SHORTEN, max(1, len(case.data) // 2)
    while size and time.monotonic() < deadline:
        place = 0
        while place < len(case.data) and time.monotonic() < deadline:
            less = replace(case, data=case.data[:place] + case.data[place + size :])
            found = fault(less)
            if found is not None and found.partition(": ")[0] == kind:
                case = less
            else:
                place += size
        size //= 2
    return case


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", action="append", choices=READERS, help="this reader alone; repeatable")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    seeds = [case for case in honest() if case.reader in (arguments.only or READERS)]
    mutator = Mutator(random.Random(arguments.seed), seeds)
    tried: Counter[str] = Counter()
    kinds: set[str] = set()
    slowest, slow = 0.0, ""
    deadline = time.monotonic() + 60 * arguments.minutes
    while time.monotonic() < deadline and len(kinds) < FINDINGS:
        case = mutator.draw()
        began = time.thread_time()
        found = fault(case)
        taken = time.thread_time() - began
        tried[case.reader] += 1
        if taken > slowest:
            slowest, slow = taken, f"{case.reader}, {len(case.data)} bytes"
        if found is None:
            continue
        kind = found.partition(": ")[0]
        if (known := f"{case.reader} {kind}") not in kinds:
            kinds.add(known)
            print(f"{case.reader}: {found}\n{replace(shortened(case, kind), name=kind).line()}", flush=True)
    said = ", ".join(f"{reader} {count}" for reader, count in sorted(tried.items()))
    print(f"{tried.total()} inputs ({said}); the slowest took {slowest:.2f} s ({slow}); {len(kinds)} findings")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main())
