"""Equal requests in one run: who waits for whom, what is remembered, and that nobody waits for ever."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from batcher.api.kept import _records
from batcher.inputs.formats import parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.ledger.copying import Copy, copied_line
from batcher.ledger.ledger import Ledger
from batcher.ledger.recovery import identify
from batcher.model import Job, Kind
from batcher.running import copies
from batcher.running.copies import Copies
from batcher.running.requests import Requests, key_of
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from pathlib import Path

    from support.commandline import Desk, Ran

    from batcher.simulator import Simulator


def run(desk: Desk, sim: Simulator, *args: str) -> Ran:
    return desk.call("run", "rows.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "--dedupe", *args)


@given(st.lists(st.integers(0, 40)))
def test_a_request_is_known_again(numbers: list[int]) -> None:
    """Entries are numbered as they come, and a key has one whatever came before it."""
    table, known = Requests(), dict[int, int]()
    for number in numbers:
        entry, is_new = table.entry((0, number))
        assert is_new == (number not in known)
        assert known.setdefault(number, entry) == entry
    assert len(table) == len(known)


def test_many_requests_are_known_again() -> None:
    """Also when the index has grown, and of keys that agree in one half."""
    table = Requests()
    halves = [number * 0x9E3779B97F4A7C15 % 2**64 for number in range(5000)]
    keys = [(half, other) for half in halves for other in (1, 2**64 - 1)]
    assert [table.entry(key) for key in keys] == [(number, True) for number in range(1, len(keys) + 1)]
    assert [table.entry(key) for key in keys] == [(number, False) for number in range(1, len(keys) + 1)]


def test_a_key_is_of_all_that_is_asked() -> None:
    """Ids, line numbers and what comes back untouched make no difference; whatever is sent does."""

    def key(turn: int = 0, **line: object) -> tuple[int, int]:
        return key_of(parse_job(json.dumps(line).encode(), 0, Defaults(model="m")), turn)

    same = key(id="a", prompt="Hi")
    assert key(id="b", prompt="Hi", meta=1) == same
    others = [
        key(prompt="Ho"),
        key(prompt="Hi", model="n"),
        key(prompt="Hi", system="s"),
        key(prompt="Hi", temperature=0),
        key(prompt="Hi", truncate=True),
        key(prompt="Hi", options={"num_ctx": 1}),
        key(prompt="Hi", params={"x": 2**70}),
        key(prompt="Hi", url="/api/chat"),
        key(input="Hi"),
        key(1, prompt="Hi"),
    ]
    assert len({same, *others}) == len(others) + 1


def test_the_line_of_a_copy() -> None:
    """It says whose answer it is, and nothing of a request that was not made; large numbers keep their digits."""
    digits = 123456789012345678901234567890
    line = json.dumps(
        {"id": "a", "seq": 0, "hash": "0" * 16, "text": "é", "parsed": {"n": digits}, "usage": {}, "meta": 1}
    ).encode()
    made = copied_line(line, Copy("b", 7, "0" * 16, None))
    assert made is not None
    assert json.loads(made) == {
        "id": "b",
        "seq": 7,
        "hash": "0" * 16,
        "text": "é",
        "parsed": {"n": digits},
        "copy_of": "a",
    }
    again = copied_line(made, Copy("c", 8, "0" * 16, {"x": 1}))
    assert again is not None
    assert (json.loads(again)["copy_of"], json.loads(again)["meta"]) == ("a", {"x": 1})
    assert copied_line(line, Copy("b", 7, "1" * 16, None)) is None


@pytest.mark.parametrize(
    ("text", "copied"),
    [(r'"\ud800 x"', '"\ufffd x"'), (r'"x \udc00"', '"x \ufffd"'), ("7" * 5000, "7" * 5000), ('"x', None)],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_what_is_taken_for_a_result_is_copied(text: str, copied: str | None, mark: str) -> None:
    """Lines of earlier versions have halves of characters; what cannot be read at all is no answer to copy."""
    line = f'{mark}{{"id":"a","seq":0,"hash":"{"0" * 16}","text":{text},"attempts":1}}\n'.encode()
    made = copied_line(line, Copy("b", 7, "0" * 16, None))
    if copied is None:
        assert made is None
    else:
        assert identify(line) is not None
        assert made is not None
        assert f'"text":{copied},'.encode() in made


def test_results_that_a_program_reads_back_are_those_that_it_does_not_ask_again(tmp_path: Path) -> None:
    """Also what only earlier versions wrote; integers keep their digits."""
    file = tmp_path / "results.jsonl"
    head = f'"seq":0,"hash":"{"0" * 16}"'
    file.write_text(f'{{"id":"a",{head},"text":"\\ud800"}}\n{{"id":"b",{head},"meta":{10**30}}}\n[]\n{{"id":"c"\n')
    found = _records(file, {"a", "b", "c"}, follow=False)
    assert [*found] == ["a", "b"]
    assert (found["a"]["text"], found["b"]["meta"]) == ("\ufffd", 10**30)


@pytest.mark.parametrize(("waiting", "ready"), [(3, 256), (10_000, 2), (1, 1)])
def test_few_copies_at_a_time(desk: Desk, monkeypatch: pytest.MonkeyPatch, waiting: int, ready: int) -> None:
    """However few may wait or be written at a stretch, each row gets its answer, and the input waits for room."""
    monkeypatch.setattr(copies, "WAITING", waiting)
    monkeypatch.setattr(copies, "READY", ready)
    rows = [{"id": f"r{number}", "model": "simulator", "prompt": f"question {number % 3}"} for number in range(60)]
    desk.write("rows.jsonl", *rows)
    with simulator_thread() as sim:
        assert run(desk, sim, "-c", "2").code == 0
        assert sim.tally.paths["/api/generate"] == 3
    assert len(desk.lines()) == 60


def test_copies_of_what_stays_pending_hold_up_nobody(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is missing leaves its jobs pending, and their copies; the others get their answers."""
    monkeypatch.setattr(copies, "WAITING", 4)
    gone = [{"id": f"g{number}", "model": "gone", "prompt": "same"} for number in range(30)]
    good = [{"id": f"r{number}", "model": "simulator", "prompt": f"question {number % 2}"} for number in range(10)]
    desk.write("rows.jsonl", *gone, *good)
    with simulator_thread(models=("simulator",)) as sim:
        ran = run(desk, sim, "-c", "1", "--summary-json", "sums.json")
    assert ran.code == 78, ran.err
    assert desk.ids() == sorted(str(row["id"]) for row in good)
    assert json.loads((desk.path / "sums.json").read_text())["jobs"]["pending"] == 30


def test_more_failures_than_are_remembered(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later copy of one that is forgotten is asked again, and fails by itself."""
    monkeypatch.setattr(copies, "FAILURES", 1)
    bad = [{"id": f"b{number}", "prompt": f"[[sim id=no{number} do=bad]]"} for number in range(3)]
    good = [{"id": f"g{number}", "prompt": f"question {number}"} for number in range(40)]
    late = [{"id": f"l{number}", "prompt": f"[[sim id=no{number} do=bad]]"} for number in range(3)]
    desk.write("rows.jsonl", *bad, *good, *late)
    with simulator_thread() as sim:
        assert run(desk, sim, "-c", "1", "-m", "simulator").code == 3
        asked = sum(sim.counts[f"no{number}"] for number in range(3))
    assert set(desk.errors()) == {"b0", "b1", "b2", "l0", "l1", "l2"}
    assert asked == 5


def asking(ident: str, prompt: str) -> Job:
    return Job(id=ident, seq=0, kind=Kind.GENERATE, content=prompt)


def test_a_job_that_is_read_a_second_time_is_no_copy_of_itself(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "results.jsonl") as ledger:
        jobs = [asking("a", "one"), asking("b", "two"), asking("a", "one"), asking("c", "one")]
        passed = Copies(ledger, frozenset(Kind)).distinct(jobs)
        assert [job.id for job in passed if job is not None] == ["a", "b", "a"]


def test_the_first_copy_waits_for_room_as_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where as many wait as may, one of a request for which none waits has to as well."""
    monkeypatch.setattr(copies, "WAITING", 1)
    with Ledger.open(tmp_path / "results.jsonl") as ledger:
        jobs = [asking(ident, prompt) for ident, prompt in (("a", "one"), ("b", "two"), ("c", "one"), ("d", "two"))]
        waiting = Copies(ledger, frozenset(Kind))
        passed = waiting.distinct(jobs)
        assert [job and job.id for job in islice(passed, 4)] == ["a", "b", None, None]
        assert waiting.is_blocked


def test_a_text_is_known_by_two_hashes() -> None:
    """Two texts whose requests share a hash are two requests, and so is one text of two models or turns."""

    def key(text: str, digest: str = "0123456789abcdef", model: str = "m", turn: int = 0) -> tuple[int, int]:
        return key_of(Job(id="a", seq=0, kind=Kind.EMBED, hash=digest, model=model, content=text), turn)

    same = key("one")
    assert key("one") == same
    others = [key("another"), key("one", "fedcba9876543210"), key("one", model="n"), key("one", turn=1), key("one", "")]
    assert len({same, *others}) == 6
    assert all(0 <= half < 2**64 for pair in others for half in pair)
