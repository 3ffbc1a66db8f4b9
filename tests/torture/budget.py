"""How much torture: a number of turns and a time, whichever is over first."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Budget:
    """`spend()` is true until `turns` were spent or `seconds` are over, counted from the making."""

    turns: int
    seconds: float
    spent: int = 0
    _began: float = field(default_factory=time.monotonic)

    @property
    def late(self) -> bool:
        return time.monotonic() - self._began >= self.seconds

    @property
    def over(self) -> bool:
        return self.spent >= self.turns or self.late

    def spend(self) -> bool:
        """Take one turn, if there is one left."""
        if self.over:
            return False
        self.spent += 1
        return True
