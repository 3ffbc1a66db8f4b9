"""The one clock of durations: monotonic seconds. The wall clock stands in `started_at` and `at` alone."""

from __future__ import annotations

import time
from typing import Final

now: Final = time.monotonic
