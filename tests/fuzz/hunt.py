"""Plays what is drawn by lot to the commands, for so many minutes, and prints each kind of finding once."""

from __future__ import annotations

import argparse
import logging
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from support.commandline import PROJECT, Desk, Ran
from support.faultcells import short_waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY: Final = "sk-fuzz-0123456789abcdef"
HANG: Final = 20.0
"""Seconds after which a command is taken for hanging."""
CODES: Final = frozenset(
    map(int, re.findall(r"^\| (\d+) ", (PROJECT / "docs/exit-codes.md").read_text(), re.MULTILINE))
) - {1}

Found: TypeAlias = "tuple[str, int]"
"""What came otherwise than it must, "" if nothing; and the code that the command ended with."""


class HangError(BaseException):
    """A command took too long."""


def _stop(*_: object) -> None:
    raise HangError(f"more than {HANG:g} s")


@contextmanager
def quiet() -> Iterator[None]:
    """What a command writes to the descriptor of stdout, past Python, goes nowhere."""
    sys.stdout.flush()
    before, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)
        os.close(nowhere)


def called(desk: Desk, *words: str) -> tuple[str, Ran | None]:
    """How a command ended, with the key in its environment; or what came out of it that is no end."""
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, HANG)
    try:
        with quiet():
            return "", desk.call(*words, env={"KEY": KEY})
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {error}"[:300], None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def shown_or_leaked(desk: Desk, ran: Ran) -> str:
    """What no command may say or write, however it ends; "" if there is nothing of it."""
    said = ran.out + ran.err
    if "Traceback" in said or "Warning:" in said:
        return f"a traceback is shown: {said[-600:]}"
    if ran.code not in CODES:
        return f"ended with {ran.code}: {ran.err[-300:]}"
    if KEY in said or any(KEY.encode() in path.read_bytes() for path in desk.path.rglob("*") if path.is_file()):
        return "the key stands in what came out"
    return ""


def hunt(about: str, what: str, player: Callable[[random.Random, Path], Callable[[Path], tuple[Found, str]]]) -> int:
    """Play until the time is over; the exit code.

    `player` has the lot and a directory of its own, and gives what plays one draw in a directory that is not there yet:
    what was found, and how it is made anew.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    print(f"seed {arguments.seed}", flush=True)
    ended, kinds = Counter[int](), set[str]()
    deadline = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory(prefix="hunt-") as home, short_waits():
        play, place = player(random.Random(arguments.seed), Path(home)), Path(home) / "desk"
        while time.monotonic() < deadline:
            shutil.rmtree(place, ignore_errors=True)
            (found, code), shown = play(place)
            ended[code] += 1
            kind = re.sub(r"\d+|'[^']*'", "", found)[:80]
            if found and kind not in kinds:
                kinds.add(kind)
                print(f"{found}\n  {shown}", flush=True)
    codes = ", ".join(f"{code}: {count}" for code, count in sorted(ended.items()))
    print(f"{ended.total()} {what} (by their codes {codes}); {len(kinds)} findings")
    return 1 if kinds else 0
