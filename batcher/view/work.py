"""What took the time of a run: looked at now and then, or added up over answers; the bottleneck is told by it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.view.bottleneck import Bound, Level

if TYPE_CHECKING:
    from batcher.outcome import Result

FIRST: Final = 64
"""Answers whose pieces are looked at: those that came while ever more were in flight."""
FIRST_LOOKS: Final = 300
"""Looks at how many are in flight that are kept: a minute of them."""


@dataclass(slots=True)
class Work:
    """Seconds, as in `Measured`."""

    held: float = 0.0
    """Nothing could be sent: servers were away, or said wait."""
    alone: float = 0.0
    """Nothing was left but single calls that waited to be asked again."""
    requests: float = 0.0
    tokens: float = 0.0
    a_minute: float = 0.0
    full: float = 0.0
    crowded: float = 0.0
    """Seconds in which servers had said wait as they had too many at once; of several added up."""
    disk: float = 0.0
    cpu: float = 0.0
    bound: Bound = Bound.FOUND
    queue: float = 0.0
    prompts: float = 0.0
    busy: float = 0.0
    flights: list[tuple[float, int]] = field(default_factory=list)
    """When how many were in flight, at first."""
    _looked: int = 0
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
        if arrivals and self.flights and self._looked < FIRST:
            self._looked += 1
            self._add_pieces(arrivals)

    def flies(self, in_flight: int, now: float) -> None:
        """Take in how many are in flight; moments come in order, and the first few hundred tell enough."""
        if len(self.flights) < FIRST_LOOKS:
            self.flights.append((now, in_flight))

    def _add_pieces(self, arrivals: list[float]) -> None:
        """Count the pieces of an answer by how many were in flight when they came."""
        ends = [moment for moment, _ in self.flights[1:]] + [arrivals[-1]]
        for (start, flying), end in zip(self.flights, ends, strict=True):
            first, last = max(start, arrivals[0]), min(end, arrivals[-1])
            if flying and last > first:
                pieces = bisect_left(arrivals, last) - bisect_left(arrivals, first)
                known = self.levels.get(flying.bit_length(), Level(flying, 0.0, 0))
                seconds = known.seconds + last - first
                in_flight = known.in_flight + (flying - known.in_flight) * (last - first) / seconds
                self.levels[flying.bit_length()] = Level(in_flight, seconds, known.pieces + pieces)
