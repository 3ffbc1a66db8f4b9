"""The page of screens is that of the states, and what ends by itself still says what it says there."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from screens.page import screens, shown, words
from screens.play import Seen, furnish, servers_of, variables
from screens.states import CHAPTERS
from support.commandline import PROJECT

if TYPE_CHECKING:
    from support.commandline import Desk

PAGE = screens((PROJECT / "docs" / "screens.md").read_text())
STATES = {name: state for states in CHAPTERS.values() for name, state in states.items()}
FIXED = [name for name, state in STATES.items() if state.is_fixed]


def test_the_page_has_every_state() -> None:
    """Each has its screen, and there is no other."""
    assert list(PAGE) == list(STATES)
    assert all(screen.startswith("$ ") for screen in PAGE.values())
    assert len(STATES) >= 28


@pytest.mark.slow
@pytest.mark.parametrize("name", FIXED)
def test_it_still_says_so(name: str, desk: Desk) -> None:
    """Word by word, but for numbers and where rows are broken."""
    state = STATES[name]
    with ExitStack() as stack:
        servers, names = servers_of(state, stack)
        assert len(servers) == (state.server is not None) + (state.other is not None)
        furnish(state, desk.path)
        desk.env = {"PATH": desk.env["PATH"], "HOME": desk.env["HOME"], "LANG": "C.UTF-8"} | variables(state, names)
        for args in state.before:
            desk.call(*args)
        ran = desk.call(*(word.format(**names) for word in (*state.args, *state.more)))
    now = shown(state, Seen.of(f"{ran.err}{ran.out}".splitlines(), ran.code, names))
    assert words(now) == words(PAGE[name])
