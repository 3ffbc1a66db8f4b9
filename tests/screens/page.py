"""The page of screens: what is written of each state, and what of it is the same each time."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

from screens.play import ADDRESSES
from screens.states import CHAPTERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from screens.play import Seen
    from screens.states import State

HEAD: Final = """# Screens

What people see in each state of a run, as it looked: `make screens` plays them against [the simulator](simulator.md)
on a terminal, and writes this page. Above each stands what was typed; of a run that goes on one moment is shown.
Numbers differ from time to time, words do not: a test plays those again that end by themselves.
"""
_NUMBER: Final = re.compile(r"\d[\d,.]*(?: (?:µs|ms|s)\b|m \d\ds\b)?")
_UNSAID: Final = (
    "speed",
    "times",
    "limit",
    "waited",
    "bound by",
    "batcher: looking",
    "batcher: waiting",
    "batcher: going on",
)
"""Rows that are numbers, or hang on how long something took."""


def shown(state: State, seen: Seen) -> str:
    """A screen below what was typed, and how the command ended if it did."""
    names = {name: f"http://{address}" for name, address in ADDRESSES.items()}
    typed = shlex.join(["batcher", *(word.format(**names) for word in (*state.args, *state.more))])
    variables = "".join(f"{name}={shlex.quote(value.format(**names))} " for name, value in state.env.items())
    code = 128 - seen.code if seen.code is not None and seen.code < 0 else seen.code  # as shells tell a signal
    return "\n".join([f"$ {variables}{typed}", *seen.rows, *([f"$ echo $?\n{code}"] if code else [])])


def page(found: Mapping[str, str]) -> str:
    """All of it, by chapters."""
    parts = [HEAD]
    for chapter, states in CHAPTERS.items():
        parts.append(f"\n## {chapter}\n")
        for name, state in states.items():
            parts.append(f"\n### {name}\n\n{state.words}\n\n```text\n{found[name]}\n```\n")
    return "".join(parts)


def screens(text: str) -> dict[str, str]:
    """Each screen of a page, by its heading."""
    found = re.findall(r"^### (.*?)\n.*?^```text\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)
    return dict(found)


def words(screen: str) -> str:
    """What of a screen is the same each time: without numbers, and without where rows are broken."""
    whole = screen.replace("\n" + " " * 9, " ")
    rows = [row for row in whole.splitlines() if not row.startswith(_UNSAID)]
    return " ".join(_NUMBER.sub("N", " ".join(rows)).split())
