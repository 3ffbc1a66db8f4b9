"""Servers that behave as no document says: what came of each is held against what must come out of the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.wildcases import cases, play

if TYPE_CHECKING:
    from support.commandline import Desk

pytestmark = pytest.mark.slow

CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_case(desk: Desk, name: str) -> None:
    """Of each file in tests/wild/: exit code, lines, words and requests are what the case says."""
    wrong = play(CASES[name], desk)
    assert not wrong, "\n".join([name, CASES[name]["happens"], *wrong])


def test_in_a_process_of_its_own(desk: Desk) -> None:
    """The first case comes out the same in a process, with its real waits."""
    name = next(iter(CASES))
    assert not play(CASES[name], desk, process=True)
