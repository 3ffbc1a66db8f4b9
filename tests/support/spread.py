"""How the tests are spread over workers: those that wait beside those that compute, and nobody alone at the end.

`--dist loadgroup` of xdist 3.8 hands out single tests in their order: with pytest 9.2 it knows no groups any more
(https://github.com/pytest-dev/pytest-xdist/issues/1386). Ten thousand short tests are then asked for one by one over a
pipe, each worker makes the fixtures of each module, several models compute beside each other, and all workers come to
the tests that wait at the same time.

Here the fast modules are one piece of work each, and so are all tests on the real server; of other modules each test is
one, unless they say by `xdist_group` that what they share is dear. Every second worker takes modules from the back of
the queue, the others from its front, where the longest are. In the middle, where they meet, is what is short.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

LONG = {"bench", "screens", "soak", "torture"}
"""Rooms of tests that take 5 s and more: who begins with one last of all is waited for."""


class Part(IntEnum):
    """The parts of the queue, in their order."""

    REAL = 0
    """Tests on the real server run one after the other, in one process: two models would share the same two cores."""
    LONG = 1
    SLOW = 2
    FAST = 3


@cache
def says(module: Path, mark: str) -> bool:
    return f"pytest.mark.{mark}" in module.read_text()


@cache
def part_of(module: Path) -> Part:
    """By where a module stands and what it says of itself."""
    if module.parent.name == "real":
        return Part.REAL
    if not says(module, "slow"):
        return Part.FAST
    return Part.LONG if module.parent.name in LONG else Part.SLOW


class Spread(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """A queue with two ends."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # the order is that of the parts

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        place = self.config.rootpath / module
        if part_of(place) is Part.REAL:
            return "real"
        return module if part_of(place) is Part.FAST or says(place, "xdist_group") else nodeid

    def _assign_work_unit(self, node: Any) -> None:
        if self.nodes.index(node) % 2:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)
