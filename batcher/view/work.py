"""What took the time of a run: looked at now and then, or added up over answers; the bottleneck is told by it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.view.bottleneck import Bound, Level

if TYPE_CHECKING:
    from batcher.outcome import Result

_FEW: Final = 3
"""Arrivals of an answer that tell no speed."""


@dataclass(slots=True)
class Work:
    """Seconds, as in `Measured`."""

    held: float = 0.0
    """Nothing could be sent: servers were away, or said wait."""
    requests: float = 0.0
    tokens: float = 0.0
    a_minute: float = 0.0
    full: float = 0.0
    disk: float = 0.0
    cpu: float = 0.0
    bound: Bound = Bound.FOUND
    queue: float = 0.0
    prompts: float = 0.0
    flying: int = 0
    """How many are in flight."""
    levels: dict[int, Level] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        """Take in how an answer's time was spent, as far as the server or the arrivals tell."""
        completion, timing = result.completion, result.timing
        if completion is None or timing is None:
            return
        server, arrivals = completion.server, timing.arrivals
        if server is not None and server.prompt_eval_s is not None:
            self.prompts += server.prompt_eval_s
            began = timing.ttft if timing.ttft is not None else timing.total - (server.eval_s or 0.0)
            self.queue += max(0.0, began - server.prompt_eval_s - (server.load_s or 0.0))
        if len(arrivals) > _FEW and self.flying:
            speed = (len(arrivals) - 1) / max(arrivals[-1] - arrivals[0], 1e-6)
            place = self.flying.bit_length()
            level = self.levels.get(place)
            if level is None:
                self.levels[place] = Level(self.flying, 1, speed)
            else:
                n = level.answers + 1
                in_flight = round(level.in_flight + (self.flying - level.in_flight) / n)
                self.levels[place] = Level(in_flight, n, level.speed + (speed - level.speed) / n)
