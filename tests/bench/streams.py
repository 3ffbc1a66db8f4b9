"""What a record costs when thousands of streams are open, beside the same at a usual number in flight.

Like is compared with like: as many records a second over all, each a packet of its own, in as many jobs. 5,000 streams
with a record a second each are held against 64 with 78 each. The same jobs with answers of one record are taken off,
on both sides, and with them what requests and connections cost.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from statistics import median

from bench.answers import V1
from bench.case import IN_FLIGHT, Case
from bench.clients import BATCHER
from bench.measure import Side, compare, ratios
from bench.process import raise_file_limit
from bench.table import Row, Target

OPEN = 5000
RECORDS = 11
TARGET = Target(1.5)
FILES = 200
"""What a process has open beside its streams, and some to spare."""


def measure(turns: int, scale: float = 1.0, records: int = RECORDS) -> list[Row]:
    streams = max(IN_FLIGHT, round(OPEN * scale))
    if not raise_file_limit(streams + FILES):
        print(f"left out, as the limit of open files is below {streams + FILES:,}", end=" ", file=sys.stderr)
        return []
    many = Case("streams", V1, jobs=streams, stream=True, words=records, step=1.0, in_flight=streams)
    few = replace(many, in_flight=IN_FLIGHT, step=IN_FLIGHT / streams)
    batcher, usual = sides = [Side(BATCHER.name, BATCHER, case, replace(case, words=1)) for case in (many, few)]
    compare(sides, turns)
    return [
        Row(
            f"SSE, {streams:,} streams open, a record; beside: {IN_FLIGHT}",
            "CPU µs",
            {"batcher": median(batcher.micros()), "beside": median(usual.micros())},
            ratios(batcher, usual),
            "of beside",
            TARGET,
            next((side.trouble for side in sides if side.trouble), ""),
            {
                "jobs": streams,
                "client_load": [round(side.load, 3) for side in sides],
                "server_load": [round(side.server_load, 3) for side in sides],
            },
        )
    ]
