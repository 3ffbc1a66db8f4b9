"""The short way to a job that embeds one text makes the job that the long way makes, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
import pytest
from hypothesis import given, strategies as st

from batcher.failures import LineError
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.formats.records import read_record

if TYPE_CHECKING:
    from batcher.model import Job

RUNS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"model": "m"},
    {"model": "nomic:latest", "prefix": "search_document: ", "keep_alive": "5m"},
    {"model": 'na"me', "path": "/v1/embeddings", "extra": {"dimensions": 256}},
    {"model": "null", "path": "/api/embed", "options": {"num_ctx": 64}, "params": {"normalize": True}},
    {"model": "m", "extra": {"truncate": False, "stream": True, "text": [None, None]}},
    {"model": "m", "aliases": {"m": "other"}},
    {"model": "m", "path": "/v1/chat/completions"},
)
TEXTS: Final = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "",
            " ",
            "\N{NO-BREAK SPACE}",
            "\ufeff",
            " \u200b\0",
            "null",
            '",null',
            "a\0b",
            "\ud800",
            "\u2028",
            7,
            None,
            ["a", "b"],
            [1],
        ]
    ),
)
ROWS: Final = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["a", 7]),
        "input": TEXTS,
        "text": TEXTS,
        "prompt": TEXTS,
        "model": st.sampled_from(["m", "other", None]),
        "dimensions": st.sampled_from([8, None]),
        "meta": st.just({"k": 1}),
        "url": st.sampled_from(["/v1/embeddings", "/api/embed"]),
        "system": st.just("s"),
    },
)


def made(record: dict[str, Any], defaults: Defaults) -> Job | str:
    """The job of a row, or why it is none."""
    try:
        return read_record(dict(record), "name", 3, defaults)
    except LineError as error:
        return error.code


@pytest.mark.parametrize("run", RUNS, ids=str)
@given(record=ROWS)
def test_the_short_way_makes_the_same(run: dict[str, Any], record: dict[str, Any]) -> None:
    """Whatever a row holds and whatever a run says: the job and its hash are the same, or why there is none."""
    short, long = Defaults(**run), Defaults(**run)
    object.__setattr__(long, "plain", None)
    assert made(record, short) == made(record, long)


@pytest.mark.parametrize("run", RUNS[:6], ids=str)
def test_the_short_way_is_gone(run: dict[str, Any]) -> None:
    """By a text and nothing else."""
    plain = Defaults(**run).plain
    assert plain is not None
    job = plain.job(orjson.loads(b'{"id":"a","input":"hi"}'), "a", 0)
    assert job is not None
    assert job.content == f"{run.get('prefix', '')}hi"
    assert plain.job({"input": "hi", "meta": 1}, "a", 0) is None
    assert plain.job({"text": "hi"}, "a", 0) is None


@pytest.mark.parametrize("run", RUNS[6:], ids=str)
def test_there_is_no_short_way(run: dict[str, Any]) -> None:
    """Where a name is to be looked up, or what is asked is no embedding."""
    assert Defaults(**run).plain is None
