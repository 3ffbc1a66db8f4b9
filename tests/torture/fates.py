"""Whole runs against servers in trouble, made by lot: whatever some jobs and servers do, the others are done.

A life has one to three servers, models that do or do not fit beside each other, a limit, restarts, refusals by lot,
jobs that fail the first times and jobs that always fail, each in its own way.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from support.commandline import names
from support.sceneplay import play
from support.scenes import ANSWER, WAYS, Scene, job

if TYPE_CHECKING:
    from pathlib import Path

    from support.sceneplay import Stage
    from torture.budget import Budget

AT_ONCE: Final = 3
SLOW: Final = ("no first token", "stalled")
"""Ways that hold a slot until a timeout, which has to be short for them."""
PASSING: Final = (
    *("status=503 times={}", "status=429 retry_after=1 times={}", "do=overloaded times={}", "do=busy times={}"),
    *("status=500 times=1", "do=close_before times=1", "do=cut after=2 times=1", "do=error_line after=2 times=1"),
)
"""What a job may meet that succeeds in the end: a refusal several times, a failure once."""


def life(seed: int) -> Scene:
    """The scene of a seed."""
    rng = random.Random(seed)
    native = rng.random() < 0.5
    models = tuple("abc"[: rng.choice((1, 1, 2, 3))])
    count = rng.randrange(20, 121)
    share = rng.choice((0.0, 0.02, 0.1, 0.25))
    ways = [way for way in rng.sample(list(WAYS), 3) if not (native and len(models) > 1 and way in SLOW)] or ["500"]
    jobs: list[dict[str, Any]] = []
    bad, late = set(), set()
    for place, name in enumerate(names(count)):
        directive = ""
        if rng.random() < share:
            directive = WAYS[rng.choice(ways)][0]
            bad.add(name)
        elif rng.random() < 0.1:
            directive = rng.choice(PASSING).format(rng.randrange(1, 8))
            late.add(name)
        turn = place * len(models) // count if rng.random() < 0.5 else rng.randrange(len(models))
        jobs.append(job(name, directive, model=models[turn]))
    servers = rng.choice((1, 1, 2, 3))
    settings: dict[str, Any] = {**ANSWER, "models": models, "seed": seed, "look": "native" if native else "openai"}
    settings["slots"] = rng.choice((None, 2, 8))
    if native:
        settings |= {"max_loaded": rng.choice((None, 1, 1)), "load": rng.choice((0.0, 0.1, 0.5))}
    if rng.random() < 0.3:
        settings |= {"faults": ((rng.choice(("429", "503")), 0.2), ("500", 0.03)), "default": "retry_after=1"}
    args = ["-c", rng.choice(("1", "2", "8", "auto", "1-8")), "--first-token-timeout", "5s", "--idle-timeout", "1s"]
    held = 0.0
    if any(way in SLOW for way in ways):
        args[3] = "1s"
        held = 2.0 * len(bad) / (int(args[1]) if args[1].isdecimal() else 2)
    if rng.random() < 0.3:
        args += ["--no-stream", "--timeout", "2s"] if held else ["--no-stream"]  # the whole is its first content
    restarts = [
        (rng.uniform(0.3, 3), rng.randrange(servers), rng.uniform(0.2, 2)) for _ in range(rng.choice((0, 0, 1, 2)))
    ]

    def meanwhile(stage: Stage) -> None:
        for after, server, lasting in restarts:
            time.sleep(after)
            stage.go_away(lasting, server)

    return Scene(
        f"life {seed}: {count} jobs, {len(bad)} bad ({', '.join(ways) if bad else 'none'}), {servers} x "
        f"{settings['look']}, {len(models)} models, {' '.join(args)}, {len(restarts)} restarts",
        tuple(jobs),
        frozenset(bad),
        frozenset(late),
        server=settings,
        servers=({},) * servers,
        args=tuple(args),
        healthy=60 + held,
        ends=180 + 3 * held,
        again="",
        meanwhile=meanwhile,
    )


def fates(place: Path, budget: Budget, rng: random.Random) -> Counter[str]:
    """Play lives as long as there is a turn left. Raises AssertionError, with their seeds, if any broke a promise."""
    figures: Counter[str] = Counter()
    failed = []

    def lives() -> Counter[str]:
        found: Counter[str] = Counter()
        while budget.spend():
            seed = rng.randrange(10**9)
            played = play(life(seed), place / f"life{seed}")
            found.update({"lives": 1, "requests": played.requests, "results": played.results, "errors": played.errors})
            if played.wrong:
                print(f"  {played}", flush=True)
                failed.append(f"{seed}: {', '.join(played.wrong)}")
        return found

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for found in [pool.submit(lives) for _ in range(AT_ONCE)]:
            figures += found.result()
    assert not failed, "\n".join(failed)
    return figures
