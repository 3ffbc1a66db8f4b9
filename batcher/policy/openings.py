"""Whether a call that waits may go to a server now, and if not, when: what is held there, and what is paced. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.policy import history

if TYPE_CHECKING:
    from batcher.model import Call
    from batcher.policy.backlog import Backlog
    from batcher.policy.lane import Lane

WORTH_A_LOAD: Final = 10.0
"""Seconds that a loaded model must be held for another to be loaded meanwhile."""


@dataclass(slots=True)
class Openings:
    """`later` is when something that was passed over may go."""

    backlog: Backlog
    later: float = math.inf
    paced_until: float = -math.inf
    """When the allowance opens of which a call was kept back last."""
    paced: dict[Call, float] = field(default_factory=dict)
    """Calls that wait for their server's allowance, and since when."""

    def chosen(self, call: Call, now: float) -> None:
        """The call goes, and has waited for its allowance if it had to."""
        history.waited(call, now - self.paced.pop(call, now))

    def forget(self, call: Call) -> None:
        """The call will not be asked about again."""
        if self.paced:
            self.paced.pop(call, None)

    def fits(self, lane: Lane, call: Call, now: float) -> bool:
        """Whether the call may go there now."""
        if lane.offer.is_partial and lane.offer.lacks(call):
            return False
        if (self.backlog.gated or lane.offer.is_troubled) and self._is_gated(lane, call, now):
            return False
        return not self._is_paced(lane, call, now)

    def _is_gated(self, lane: Lane, call: Call, now: float) -> bool:
        """Whether what the call asks for is held there: then others are looked for behind it."""
        gated = self.backlog.gated
        opens = lane.offer.service(call).opens()
        if opens <= now:
            if gated:
                gated.discard((call.group, call.path))
            return False
        self.later = min(self.later, opens)
        gated.add((call.group, call.path))
        return True

    def _is_paced(self, lane: Lane, call: Call, now: float) -> bool:
        opens = lane.pacing.opens(call, now)
        if opens <= now:
            return False
        self.later = min(self.later, opens)
        lane.paced_until = self.paced_until = opens
        self.paced.setdefault(call, now)
        return True

    def is_waited_for(self, lane: Lane, now: float) -> bool:
        """Whether a call of another group would go, were nothing in flight."""
        return any(self.fits(lane, call, now) for call in self.backlog.first_of_others(lane.loading.group))

    def is_worth_waiting(self, lane: Lane, now: float) -> bool:
        """Whether what is loaded is held or paced so shortly that to load something else would take longer."""
        return any(
            not lane.offer.lacks(call) and now < self._opens(lane, call, now) < now + WORTH_A_LOAD
            for call in self.backlog.first_of(lane.loading.group or "")
        )

    @staticmethod
    def _opens(lane: Lane, call: Call, now: float) -> float:
        """When the lane can take the call; while a probe is out, that is soon."""
        gate = lane.offer.service(call).opens()
        return max(gate if gate < math.inf else now + WORTH_A_LOAD / 2, lane.pacing.opens(call, now))
