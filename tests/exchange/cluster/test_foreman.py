"""Holds what is said of machines, where none of them has room for a worker, to a table."""

from __future__ import annotations

import pytest

from batcher.exchange.cluster.foreman import lacking

HEAD, SMALL, LARGE = {"node:a": 1.0, "memory": 1e9}, {"CPU": 2.0, "place": 1.0}, {"CPU": 8.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("wanted", "machines", "words"),
    [
        ({"CPU": 1.0}, [SMALL], ""),
        ({"CPU": 0.5}, [HEAD, SMALL], ""),
        ({"CPU": 0.0}, [HEAD], ""),
        ({"CPU": 8.0, "GPU": 1.0}, [HEAD, SMALL, LARGE], ""),
        ({"CPU": 1.0, "GPU": 0.0}, [SMALL], ""),
        ({"CPU": 1.0}, [HEAD], "CPU=1, of which no machine has more than 0"),
        ({"CPU": 1.0, "GPU": 2.0}, [SMALL, LARGE], "GPU=2, of which no machine has more than 1"),
        ({"CPU": 1.0, "palce": 1.0}, [SMALL], "palce=1, of which no machine has more than 0"),
        (
            {"CPU": 9.5, "TPU": 1.0},
            [SMALL, LARGE],
            "CPU=9.5, of which no machine has more than 8; TPU=1, of which no machine has more than 0",
        ),
        ({"CPU": 4.0, "place": 1.0}, [SMALL, LARGE], "CPU=4 and place=1, which no machine has together"),
        ({"CPU": 1.0}, [], "CPU=1, of which no machine has more than 0"),
    ],
)
def test_what_no_machine_has(wanted: dict[str, float], machines: list[dict[str, float]], words: str) -> None:
    assert lacking(wanted, machines) == (f"a worker asks for {words}" if words else "")
