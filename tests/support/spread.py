"""How the tests are spread over workers: those that wait beside those that compute, and nobody alone at the end.

`-n 3 --dist loadgroup` alone hands out single tests in their order: a module's fixtures are made by each worker, each
of ten thousand short tests is asked for over a pipe, and all workers come to the tests that wait at the same time.
Here the fast tests of a module are one piece of work and each slow one is a piece of its own. Some workers take the
slow ones from the front, where the longest are; the others the modules from the back; in the middle is what is short.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadGroupScheduling

if TYPE_CHECKING:
    from collections.abc import Sequence

ALONE = "slow"
"""The group of tests that are a piece of work each."""
LONG = ("torture", "bench", "soak", "screens")
"""Rooms of tests that take 5 s and more: who begins with one last of all is waited for."""


def grouped(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Items in the order of the queue. Those on the real server are one group: two models would share the cores."""
    for item in items:
        if item.get_closest_marker("real"):
            item.add_marker(pytest.mark.xdist_group("real"))
        elif item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.xdist_group(ALONE))
    return sorted(items, key=_rank)


def _rank(item: pytest.Item) -> int:
    if item.get_closest_marker("real"):
        return 0
    if not item.get_closest_marker("slow"):
        return 3
    return 1 if Path(item.path).parent.name in LONG else 2


class Spread(LoadGroupScheduling):  # type: ignore[misc] # xdist has no types
    """A queue with two ends: every second worker takes from the back."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # the order is ours

    def _split_scope(self, nodeid: str) -> str:
        group = super()._split_scope(nodeid)
        if group == nodeid:
            return nodeid.partition("::")[0]
        return nodeid if group == ALONE else group

    def _assign_work_unit(self, node: Any) -> None:
        if self.nodes.index(node) % 2:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)
