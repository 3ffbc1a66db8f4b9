"""Numbers for Prometheus: names, types and values that its text format allows, whatever the codes are."""

from __future__ import annotations

import re

from batcher.failures import Failure, FailureClass
from batcher.outcome import Completion, Result, Timing, Usage
from batcher.view.metrics import exposition
from batcher.view.prices import Price, Prices
from batcher.view.snapshot import Snapshot
from batcher.view.summary import Summary

LINE = re.compile(r'batcher_[a-z_]+(?:\{[a-z]+="(?:[^"\\\n]|\\.)*"\})? -?\d[\d.e+-]*')


def summary() -> Summary:
    made = Summary(started=0.0, prices=Prices(rest=Price(1e6, None, 2e6)))
    timing = Timing(started=1.0, finished=3.0, arrivals=[1.5, 2.0])
    made.add(Result(id="a", seq=0, completion=Completion(usage=Usage(3, 5)), timing=timing, attempts=2))
    made.add(Result(id="b", seq=1, failure=Failure(FailureClass.PERMANENT, 'b"\\d\n', "no"), attempts=1))
    return made


def test_all_that_is_known() -> None:
    """Each value stands below its name and type, once; hostile labels are escaped."""
    text = exposition(summary(), Snapshot(elapsed=9.0, in_flight=2, allowed=4, total=10), is_over=False)
    lines = text.splitlines()
    values = [line for line in lines if not line.startswith("#")]
    assert text.endswith("\n")
    assert [line for line in values if not LINE.fullmatch(line)] == []
    assert len({line.rpartition(" ")[0] for line in values}) == len(values)
    for wanted in (
        "batcher_running 1",
        'batcher_jobs{state="ok"} 1',
        'batcher_jobs{state="failed"} 1',
        "batcher_input_jobs 10",
        "batcher_in_flight 2",
        "batcher_cost_total 13.0",
        "batcher_unpriced_total 0",
        'batcher_tokens_total{kind="completion"} 5',
        'batcher_failures_total{code="b\\"\\\\d\\n"} 1',
        'batcher_latency_seconds{quantile="0.5"} 2.0',
        "batcher_latency_seconds_sum 2.0",
        "batcher_latency_seconds_count 1",
    ):
        assert wanted in values
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(set(names)) == len(names)
    kinds = dict(line.split()[2:] for line in lines if line.startswith("# TYPE"))
    assert {name for name in kinds if name.endswith("_total")} == {name for name in kinds if kinds[name] == "counter"}
    assert "exit_code" not in text


def test_at_the_end() -> None:
    """A run that is over says so, and how."""
    done = summary()
    done.finished = 9.0
    text = exposition(done, Snapshot(elapsed=9.0), is_over=True)
    assert "batcher_running 0\n" in text
    assert "batcher_exit_code 3\n" in text
