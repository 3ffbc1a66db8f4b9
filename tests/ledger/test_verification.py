"""The user's own proof: whatever was done to a results file, the counts say exactly that, and where."""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, strategies as st
from support.result_lines import entry

from batcher.failures import Exit, OutputError
from batcher.inputs.formats import parse_job, read_lines
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.identity import derived_id
from batcher.ledger.ledger import Ledger
from batcher.ledger.lock import is_locked
from batcher.ledger.recovery import could_be_ours
from batcher.ledger.verification import SHOWN, Verdict, Verification, first_model

if TYPE_CHECKING:
    from pathlib import Path

DEFAULTS = Defaults(model="m")
FINDINGS = ("missing", "pending", "failed", "changed", "duplicate", "unreadable", "extra")
JUNK = (b"junk\n", b"\n", b'{"id":"cut","seq":0,"hash"\n', b"\0\0\0\n", b"[1]\n", b'{"seq":1}\n', b'{"id":"\xff"}\n')


def job(ident: str, prompt: str = "hello") -> bytes:
    return orjson.dumps({"id": ident, "prompt": prompt}) + b"\n"


def result(ident: str, prompt: str = "hello", seq: int = 0) -> bytes:
    return entry(ident, seq, digest=parse_job(job(ident, prompt), seq, DEFAULTS).hash)[2]


def failure(ident: str) -> bytes:
    return (
        orjson.dumps(
            {"id": ident, "seq": 0, "line": 1, "error": {"class": "permanent", "code": "bad_request"}, "attempts": 1}
        )
        + b"\n"
    )


def verify(
    directory: Path, jobs: bytes, results: bytes, errors: bytes = b"", *, at_most: int | None = None, **settings: Any
) -> Verdict:
    path = directory / "results.jsonl"
    path.write_bytes(results)
    with path.open("rb") as file:
        check = Verification()
        check.read_results(file, path)
        check.read_errors(io.BytesIO(errors))
        check.read_input(read_lines(io.BytesIO(jobs)), parse=parse_job, defaults=DEFAULTS, at_most=at_most, **settings)
        check.find_extra(file)
    assert path.read_bytes() == results
    return check.verdict


def counts(verdict: Verdict) -> dict[str, int]:
    """What was found, by name; nothing that is 0."""
    found = {name: getattr(verdict, name).count for name in FINDINGS}
    return {name: number for name, number in found.items() if number}


TWO = job("a") + job("b")
OTHER = job("a", "other")


@pytest.mark.parametrize(
    ("jobs", "results", "errors", "found"),
    [
        (TWO, result("b") + result("a"), b"", {}),
        (TWO, result("a") + result("b")[:-1], b"", {}),
        (TWO, result("a"), b"", {"missing": (2, "b")}),
        (TWO, result("a"), failure("b"), {"failed": (2, "b")}),
        (TWO, result("a") + result("b"), failure("b"), {}),
        (TWO, result("a") + result("b", "good-bye"), b"", {"changed": (2, "b")}),
        (TWO, result("a") + result("b") + result("a"), b"", {"duplicate": (3, "a")}),
        (TWO, result("a") + b"junk\n" + result("b"), b"", {"unreadable": (2, None)}),
        (TWO, result("a") + result("b") + result("c")[:20], b"", {"unreadable": (3, None)}),
        (TWO, result("x") + result("a") + result("b"), b"", {"extra": (1, "x")}),
        (TWO + job("a"), result("a") + result("b"), b"", {}),
        (TWO + OTHER, result("a") + result("b"), b"", {"missing": (3, derived_id(OTHER[:-1]))}),
        (TWO + b"no job\n", result("a") + result("b"), b"", {"missing": (3, derived_id(b"no job"))}),
        (b"", b"", b"", {}),
        (b"\n\n" + job("a"), b"", b"", {"missing": (3, "a")}),
    ],
    ids=[
        "any order",
        "no last newline",
        "missing",
        "failed",
        "failed once",
        "changed",
        "duplicate",
        "unreadable",
        "torn",
        "extra",
        "repeated in the input",
        "same id, another job",
        "no job",
        "nothing at all",
        "blank lines",
    ],
)  # fmt: skip - a list
def test_findings(
    tmp_path: Path, jobs: bytes, results: bytes, errors: bytes, found: dict[str, tuple[int, str | None]]
) -> None:
    """Each kind of fault is counted under its name, with the line and the id, and all but extra ones are faults."""
    verdict = verify(tmp_path, jobs, results, errors)
    assert counts(verdict) == dict.fromkeys(found, 1)
    assert verdict.sound == (set(found) <= {"extra"})
    for name, place in found.items():
        assert getattr(verdict, name).first == [place]


def test_a_line_that_is_no_job_and_was_complained_of(tmp_path: Path) -> None:
    """The error line that a run writes for such a line is found again, though the line has no id."""
    broken = b'{"prompt":""}'
    verdict = verify(tmp_path, broken + b"\n", b"", failure(derived_id(broken)))
    assert counts(verdict) == {"failed": 1}


def test_pending(tmp_path: Path) -> None:
    """While a run may still write them, jobs without a line are pending and not missing; that is no proof either."""
    verdict = verify(tmp_path, TWO, result("a"), unfinished=True)
    assert counts(verdict) == {"pending": 1}
    assert not verdict.sound


def test_limit(tmp_path: Path) -> None:
    """With a at_most, the first lines are the whole input."""
    verdict = verify(tmp_path, TWO, result("a") + result("b"), at_most=1)
    assert (counts(verdict), verdict.jobs, verdict.sound) == ({"extra": 1}, 1, True)


@pytest.mark.parametrize("line", [b'{"id":"b","text":"no hash"}\n', b'{"custom_id":"b","response":{}}\n', job("b")])
def test_a_line_that_batcher_did_not_write(tmp_path: Path, line: bytes) -> None:
    """An id alone makes no result, whoever wrote it; a file of nothing else is not a file of results."""
    verdict = verify(tmp_path, TWO, result("a") + line)
    assert (counts(verdict), verdict.ok) == ({"missing": 1, "unreadable": 1}, 1)
    with pytest.raises(OutputError, match="none of our results") as caught:
        verify(tmp_path, TWO, line)
    assert caught.value.exit == Exit.CANNOT_CREATE


@pytest.mark.parametrize(
    "results", [b"\xef\xbb\xbf" + result("a") + result("b"), result("a") + b"\xef\xbb\xbf" + result("b")]
)
def test_a_byte_order_mark_is_no_fault(tmp_path: Path, results: bytes) -> None:
    """An editor that adds one has changed nothing; the same before an error line."""
    assert verify(tmp_path, TWO, results).sound
    assert counts(verify(tmp_path, TWO, result("a"), b"\xef\xbb\xbf" + failure("b"))) == {"failed": 1}


def test_only_the_first_places(tmp_path: Path) -> None:
    """However much is wrong, a finding names the first few places and counts the rest."""
    verdict = verify(tmp_path, b"".join(job(str(number)) for number in range(50)), b"")
    assert verdict.missing.count == 50
    assert [place.line for place in verdict.missing.first] == list(range(1, SHOWN + 1))


@pytest.mark.parametrize("ident", ['quo"te', "größe-日本-🙂", "line\nend", "nul\0", "1"])
def test_any_id(tmp_path: Path, ident: str) -> None:
    """Ids are compared as text, whatever is in them."""
    assert verify(tmp_path, job(ident), result(ident)).ok == 1
    verdict = verify(tmp_path, b"", result(ident) + result(ident))
    assert (verdict.duplicate.first[0].id, verdict.extra.first[0].id) == (ident, ident)


@given(st.data())
def test_the_counts_say_what_was_done(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """After any mixture of faults, each is counted once and nothing else is."""
    states = data.draw(st.lists(st.sampled_from(["ok", "missing", "failed", "changed"]), max_size=12))
    jobs, lines, errors = b"", [], b""
    for seq, state in enumerate(states):
        ident = f"job-{seq}"
        jobs += job(ident)
        if state in ("ok", "changed"):
            lines.append(result(ident, "hello" if state == "ok" else "other", seq))
        elif state == "failed":
            errors += failure(ident)
    extra = data.draw(st.integers(0, 3))
    lines += [result(f"extra-{number}") for number in range(extra)]
    repeats = data.draw(st.lists(st.sampled_from(lines), max_size=4)) if lines else []
    junk = data.draw(st.lists(st.sampled_from(JUNK), max_size=4))
    results = data.draw(st.permutations([*lines, *repeats, *junk]))
    if not lines and any(not could_be_ours(line) for line in junk):
        with pytest.raises(OutputError, match="none of our results"):
            verify(tmp_path_factory.getbasetemp(), jobs, b"".join(results), errors)
        return
    verdict = verify(tmp_path_factory.getbasetemp(), jobs, b"".join(results), errors)
    expected = Counter(states) + Counter(extra=extra, duplicate=len(repeats), unreadable=len(junk))
    fine = expected.pop("ok", 0)
    assert counts(verdict) == dict(+expected)
    assert verdict.ok == fine
    assert (verdict.jobs, verdict.results) == (len(states), len(lines) + len(repeats))
    assert verdict.sound == (not set(expected) - {"extra"})
    assert [place.line for place in verdict.unreadable.first] == [
        number for number, line in enumerate(results, 1) if line in JUNK
    ][:SHOWN]


def test_while_a_run_writes(tmp_path: Path) -> None:
    """Under a run the half line at the end is no fault, what is not there yet is pending."""
    path = tmp_path / "results.jsonl"
    with Ledger.open(path) as ledger:
        verdict = verify(tmp_path, TWO, result("a") + result("b")[:30])
        assert (counts(verdict), verdict.writing) == ({"pending": 1}, True)
        verdict = verify(tmp_path, TWO, result("a") + b"junk\n" + result("b"))
        assert counts(verdict) == {"unreadable": 1}
        assert ledger.path == path
        with path.open("rb") as file:
            assert is_locked(file)


def test_what_a_run_adds_meanwhile_is_left_out(tmp_path: Path) -> None:
    """The verdict is about one moment: lines that come while it is made are neither results nor extra."""
    path = tmp_path / "results.jsonl"
    path.write_bytes(result("x"))
    with path.open("rb") as file:
        check = Verification()
        check.read_results(file, path)
        with path.open("ab") as more:
            more.write(result("y"))
        check.read_input(read_lines(io.BytesIO(b"")), parse=parse_job, defaults=DEFAULTS)
        check.find_extra(file)
    assert counts(check.verdict) == {"extra": 1}


def test_leaves_no_lock(tmp_path: Path) -> None:
    """Asking whether a run has the file keeps none from having it, while the file is still open for reading."""
    path = tmp_path / "results.jsonl"
    path.touch()
    with path.open("rb") as file:
        assert not is_locked(file)
        Ledger.open(path).close()


@pytest.mark.parametrize(
    ("content", "model"),
    [(b'{"id":"a","model":"m"}\n', "m"), (b'junk\n[1]\n{"id":"a"}\n{"model":"n"}', "n"), (b"", None), (b"{}\n", None)],
)
def test_first_model(content: bytes, model: str | None) -> None:
    """The model that a file's first results name, if any does."""
    assert first_model(io.BytesIO(content)) == model
