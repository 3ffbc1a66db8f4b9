"""Which rows are taken: samples, shards, what others have done, and turns."""

from __future__ import annotations

import bz2
import gzip
import lzma
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, strategies as st

from batcher.failures import InputError
from batcher.inputs.formats import Line, parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.identity import derived_id
from batcher.inputs.selection import Selection, Turns, answered
from batcher.inputs.shard import ARRAYS, Shard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINES = [Line(2 * number, 0, b"{}") for number in range(200)]


def drawn(count: int, seed: int = 0, lines: list[Line] = LINES) -> set[int]:
    selection = Selection(sample=count, seed=seed)
    selection.draw(lines)
    return {line.seq for line in selection.lines(lines) if line is not None}


@pytest.mark.parametrize(
    ("text", "wrong"), [("0/4", "1/4 to 4/4"), ("5/4", "1/4 to 4/4"), ("1", "2/8"), ("a/b", "2/8"), ("-1/2", "2/8")]
)
def test_a_shard_is_one_of_so_many(text: str, wrong: str) -> None:
    """Counted from 1; anything else says how it is written."""
    with pytest.raises(ValueError, match=wrong):
        Shard.read(text)
    assert str(Shard.read(" 2/8 ")) == "2/8"


SLURM = {"SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "9", "SLURM_ARRAY_TASK_COUNT": "4"}


@pytest.mark.parametrize(
    ("text", "environ", "part"),
    [
        ("auto", SLURM | {"SLURM_ARRAY_TASK_ID": "3"}, "1/4"),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_ID": "9"}, "4/4"),
        ("AUTO/4", SLURM | {"SLURM_ARRAY_TASK_ID": "5"}, "2/4"),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_ID": "5", "PMI_RANK": "0", "PMI_SIZE": "1"}, "2/4"),
        (
            "auto",
            dict.fromkeys(("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX"), "7")
            | {"SLURM_ARRAY_TASK_COUNT": "1"},
            "1/1",
        ),
        ("auto/8", {"JOB_COMPLETION_INDEX": "7"}, "8/8"),
        ("auto", {"AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_ARRAY_SIZE": "2"}, "1/2"),
        ("auto", {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, "2/2"),
    ],
)
def test_an_array_of_jobs_tells_the_part(text: str, environ: dict[str, str], part: str) -> None:
    """Numbers that begin anywhere and go in steps become parts from 1."""
    found = Shard.read(text, environ)
    assert (str(found), found.told_by in environ) == (part, True)


@pytest.mark.parametrize(
    ("text", "environ", "wrong"),
    [
        ("auto", {}, "no array of jobs"),
        ("auto", {"SLURM_ARRAY_TASK_ID": " "}, "no array of jobs"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "3"}, "SLURM_ARRAY_TASK_COUNT is not set"),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_ID": "4"}, "is 4, which is none of 4 from 3 on"),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_ID": "11"}, "is 11, which is none of 4"),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_ID": "1"}, "is 1, which is none of 4"),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MAX": "10"}, "gaps"),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_ID": "x"}, "'x', which is no number"),
        ("auto/8", SLURM | {"SLURM_ARRAY_TASK_ID": "3"}, "the SLURM array has 4"),
        ("auto", {"JOB_COMPLETION_INDEX": "2"}, "auto/8 for eight"),
        ("auto/2", {"JOB_COMPLETION_INDEX": "2"}, "is 2, which is none of 2"),
        ("auto/0", {"JOB_COMPLETION_INDEX": "0"}, "which is none of 0"),
        ("auto/x", {}, "such as 2/8"),
    ],
)
def test_an_array_that_does_not_tell_the_part(text: str, environ: dict[str, str], wrong: str) -> None:
    """Says what is missing, and never takes another part, or all of it."""
    with pytest.raises(ValueError, match=wrong):
        Shard.read(text, environ)


@given(st.sampled_from(ARRAYS), st.integers(1, 9), st.integers(0, 5), st.integers(1, 3))
def test_an_array_shares_all_parts(array: Any, of: int, first: int, step: int) -> None:
    """Each of its jobs has a part of its own."""
    fixed = {} if array.of is None else {array.of: str(of)}
    if array.last is None:
        first, step = 0, 1
    else:
        fixed |= {array.first: str(first), array.last: str(first + step * (of - 1))}
    text = "auto" if array.of else f"auto/{of}"
    parts = [Shard.read(text, fixed | {array.number: str(first + step * place)}) for place in range(of)]
    assert [str(part) for part in parts] == [f"{number}/{of}" for number in range(1, of + 1)]


@given(st.lists(st.text(min_size=1), unique=True), st.integers(1, 7))
def test_each_job_is_of_one_shard(idents: list[str], parts: int) -> None:
    """Of one, and of the same one wherever it stands."""
    shards = [Shard(number, parts) for number in range(1, parts + 1)]
    assert all(sum(shard.has(ident) for shard in shards) == 1 for ident in idents)


def test_shards_are_of_about_one_size() -> None:
    """And equal rows without ids, which are numbered in the order of the file, are of one."""
    shards = [Shard(number, 4) for number in range(1, 5)]
    sizes = [sum(shard.has(str(number)) for number in range(4000)) for shard in shards]
    assert all(900 < size < 1100 for size in sizes)
    ident = derived_id(b"row")
    [shard] = [shard for shard in shards if shard.has(ident)]
    assert all(shard.has(f"{ident}#{number}") for number in range(2, 50))
    assert len({shard for shard in shards for number in range(2, 50) if shard.has(f"own#{number}")}) == 4


def test_samples_hold_the_smaller_ones() -> None:
    """By the seed; each row is as likely as another; more than there are is all."""
    assert drawn(10) < drawn(30) < drawn(100)
    assert drawn(10) == drawn(10)
    assert drawn(10, seed=1) != drawn(10)
    assert drawn(10, seed=-1) != drawn(10)
    assert drawn(500) == {line.seq for line in LINES}
    often = [sum(line.seq in drawn(20, seed) for seed in range(300)) for line in LINES[:5]]
    assert all(10 < times < 60 for times in often)  # 30 on average


class Pipe:
    is_regular = False

    def all_lines(self) -> Iterator[Line]:
        return iter(LINES)


def test_a_sample_wants_an_input_that_can_be_read_twice() -> None:
    """From a pipe all would have to be kept."""
    with pytest.raises(InputError, match="as a file"):
        Selection(sample=3).prepare(Pipe(), None)


def test_what_is_said_can_be_said_again() -> None:
    """By the state file, for `verify`."""
    chosen = Selection(sample=3, seed=2, shard=Shard(1, 2), done_from=("a.jsonl",), repeat=4)
    assert Selection.again(orjson.loads(orjson.dumps(chosen.said()))) == chosen
    assert Selection().said() == {}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ({"id": "a", "seq": 0, "hash": "0" * 16, "text": "x"}, ("a", "0" * 16)),
        ({"id": 7, "text": "x"}, ("7", None)),
        ({"id": "b", "custom_id": "a", "response": {"status_code": 200}, "error": None}, ("a", None)),
        ({"id": "b", "custom_id": "a", "response": {"status_code": 429}, "error": None}, None),
        ({"id": "b", "custom_id": "a", "response": None, "error": {"code": "x"}}, None),
        ({"id": "a", "seq": 0, "line": 1, "error": {"code": "x"}}, None),
        ({"id": "a", "prompt": "x"}, None),
        ({"text": "x"}, None),
        ({"id": True, "text": "x"}, None),
        (["a"], None),
    ],
)
def test_lines_with_an_answer(line: Any, found: tuple[str, str | None] | None) -> None:
    """Results of ours, of an OpenAI batch, of others; not their failures, nor jobs."""
    assert answered(orjson.dumps(line)) == found


def test_broken_lines_have_no_answer() -> None:
    """A torn last line is nobody's result."""
    assert answered(b'{"id": "a", "text": "x') is None


def test_turns_have_ids_and_seeds_of_their_own() -> None:
    """Whether the seed is a parameter, an option of Ollama's or in a body; rows that are equal stay apart."""
    seen: set[str] = set()
    turns = Turns(seen.__contains__, 2)
    rows = [
        {"id": "a", "prompt": "x", "seed": 5},
        {"id": "b", "prompt": "x", "options": {"seed": 5}},
        {"id": "c", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "x"}], "seed": 5}},
        {"prompt": "same"},
        {"prompt": "same"},
    ]
    jobs = []
    for line in Selection(repeat=2).lines([Line(seq, 0, orjson.dumps(row)) for seq, row in enumerate(rows)]):
        assert line is not None
        jobs.append(turns.job(parse_job, line, Defaults(model="m")))
        seen.add(jobs[-1].id)
    assert [job.seq for job in jobs] == list(range(10))
    assert [job.id for job in jobs[:6]] == ["a~1", "a~2", "b~1", "b~2", "c~1", "c~2"]
    assert len({job.id for job in jobs}) == 10
    assert [jobs[1].params["seed"], jobs[3].options["seed"], (jobs[5].body or {})["seed"]] == [6, 6, 6]
    assert len({job.hash for job in jobs[:6]}) == 6
    assert jobs[6].hash == jobs[7].hash == jobs[8].hash
    assert turns.repeated


OURS = b'{"id":"a","seq":0,"hash":"0123456789abcdef","text":"x"}\n'
FAILED = b'{"id":"b","seq":1,"error":{"code":"bad_request","message":"no"}}\n'
BATCH = b'{"id":"1","custom_id":"c","response":{"status_code":500,"body":{}},"error":null}\n'
ROW = b'{"id":"a","prompt":"a"}\n'


@pytest.mark.parametrize(
    ("data", "is_done"),
    [
        (b"", False),
        (OURS, True),
        (OURS[:-9], False),
        (ROW + OURS, True),
        (FAILED, False),
        (BATCH, False),
        (gzip.compress(OURS, mtime=0), True),
        (bz2.compress(ROW + OURS), True),
        (lzma.compress(FAILED * 9), False),
    ],
)
def test_what_other_runs_have_done(tmp_path: Path, data: bytes, *, is_done: bool) -> None:
    """Packed or not; a part may have no answer yet, or half of one."""
    assert read_done(tmp_path, data).has_elsewhere("a") is is_done


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (ROW, "holds no results"),
        (b"some words\n" * 3 + b"and more", "holds no results"),
        (gzip.compress(ROW, mtime=0), "holds no results"),
        (gzip.compress(OURS * 9000, mtime=0)[:-40], "the gzip data is cut off"),
    ],
)
def test_what_is_none_of_a_run(tmp_path: Path, data: bytes, words: str) -> None:
    """It was not meant: what was would be asked, and paid for, again."""
    with pytest.raises(InputError, match=f"^--done-from: {tmp_path}/done.*{words}"):
        read_done(tmp_path, data)


def read_done(where: Path, data: bytes) -> Selection:
    (where / "done").write_bytes(data)
    selection = Selection(done_from=(str(where / "done"),))
    selection.read_done()
    return selection
