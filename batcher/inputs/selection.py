"""Which rows of an input a run takes: a sample, a share by id, what no other run has done, each of them so many times.

    -n         the first lines, and no others: cut off by `Intake`
    sample     N of these, drawn by the hash of their numbers: a larger sample holds the smaller one
    done-from  off go the jobs that other results have
    shard      the part of n that an id falls into, wherever its row stands; equal rows fall into one
    repeat     each row K times: `seq` counts these, so that row r is asked as r·K, r·K + 1 …

`seq` stays that of the whole input, and so `verify`, which chooses alike, finds what a run left out.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

import orjson

from batcher.failures import InputError, LineError
from batcher.inputs.compression import as_unpacked
from batcher.inputs.done import DoneIds
from batcher.inputs.formats.jsonl import name_of, too_large
from batcher.inputs.identity import Ids, rehashed
from batcher.inputs.lineset import LineSet
from batcher.inputs.shard import Shard
from batcher.opening import open_given

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from batcher.inputs.formats import Line, Parser
    from batcher.inputs.formats.defaults import Defaults
    from batcher.inputs.formats.rows import Data
    from batcher.model import Job, Json


class Lines(Protocol):
    """An input: `is_regular` if it can be read more than once."""

    is_regular: bool

    def all_lines(self) -> Iterator[Line]: ...


_LONGEST: Final = 64 << 20
"""Bytes of a line of results that is looked at whole."""
_TURN: Final = 1 << 16
_OK: Final = 200
_FAILED: Final = (b'"error"', b'"response"')
"""What stands on lines of results without an answer, ours or OpenAI's."""


@dataclass(slots=True, kw_only=True)
class Selection:
    """What is taken of an input. `prepare` it once before it is asked."""

    sample: int | None = None
    seed: int = 0
    shard: Shard | None = None
    done_from: tuple[str, ...] = ()
    repeat: int = 1
    _drawn: LineSet | None = None
    _elsewhere: DoneIds | None = field(default=None, compare=False)

    def said(self) -> dict[str, Json]:
        """What was chosen, for the state file."""
        told: dict[str, Json] = {"sample": self.sample, "seed": self.seed if self.sample else None}
        told |= {"shard": str(self.shard) if self.shard else None, "done_from": list(self.done_from)}
        return {name: value for name, value in told.items() if value not in (None, [])} | (
            {"repeat": self.repeat} if self.repeat > 1 else {}
        )

    @classmethod
    def again(cls, said: Mapping[str, Any]) -> Selection:
        """As it was said."""
        shard = Shard.read(said["shard"]) if "shard" in said else None
        return cls(**{**said, "shard": shard, "done_from": tuple(said.get("done_from", ()))})

    @property
    def leaves_out(self) -> bool:
        """Whether there are lines that are never looked at."""
        return self.sample is not None

    def prepare(self, source: Lines, at_most: int | None, checkpoint: Callable[[], object] = bool) -> None:
        """Read what is done elsewhere, and draw the sample. Raises InputError if one of them cannot be read twice."""
        self.read_done(checkpoint)
        if self.sample is not None:
            if not source.is_regular:
                raise InputError("a sample is drawn among all rows: give the input as a file")
            self.draw(islice(source.all_lines(), at_most), checkpoint)

    def draw(self, lines: Iterable[Line | None], checkpoint: Callable[[], object] = bool) -> None:
        """Choose the sample among all lines, which takes reading them once, and memory for as many as are chosen."""
        if self.sample is None:
            return
        chosen: list[tuple[int, int]] = []
        key = self.seed.to_bytes(16, "little", signed=True)
        for read, line in enumerate(lines):
            if not read % _TURN:
                checkpoint()
            if line is None:
                continue
            lot = int.from_bytes(blake2b(line.seq.to_bytes(8, "little"), digest_size=8, key=key).digest(), "little")
            if len(chosen) < self.sample:
                heapq.heappush(chosen, (-lot, line.seq))
            elif -lot > chosen[0][0]:
                heapq.heapreplace(chosen, (-lot, line.seq))
        self._drawn = LineSet()
        self._drawn.update([seq for _, seq in chosen])

    def read_done(self, checkpoint: Callable[[], object] = bool) -> None:
        """Read the results that other runs have. Raises InputError if one of them cannot be read, or holds none: what
        was meant would be asked, and paid for, again.
        """
        if not self.done_from:
            return
        self._elsewhere = DoneIds()
        for name in self.done_from:
            try:
                with open_given(Path(name), checkpoint) as file:
                    is_foreign = self._read_done(as_unpacked(file), checkpoint)
            except OSError as error:
                raise InputError(f"--done-from: {name} cannot be read: {error.strerror}") from error
            except InputError as error:
                raise InputError(f"--done-from: {name}: {error}") from error
            if is_foreign:
                raise InputError(f"--done-from: {name} holds no results")

    def _read_done(self, file: BinaryIO, checkpoint: Callable[[], object]) -> bool:
        """Whether there are lines in it, and none of a run."""
        assert self._elsewhere is not None
        are_lines = is_of_run = False
        for read, line in enumerate(iter(partial(file.readline, _LONGEST), b"")):
            if not read % _TURN:
                checkpoint()
            if (found := answered(line)) is not None:
                self._elsewhere.add(*found)
                is_of_run = True
            elif not is_of_run and line.endswith(b"\n"):  # half of one is what a kill leaves
                are_lines = True
                is_of_run = any(mark in line for mark in _FAILED)
        return are_lines and not is_of_run

    def lines(self, lines: Iterable[Line | None]) -> Iterator[Line | None]:
        """Those of the sample, each as often as it is asked."""
        for line in lines:
            if line is None:
                yield None
            elif self._drawn is None or line.seq in self._drawn:
                if self.repeat == 1:
                    yield line
                else:
                    first = line.seq * self.repeat
                    yield from (line._replace(seq=first + turn) for turn in range(self.repeat))

    def count_of(self, rows: int) -> int:
        """How many jobs there are at most, of so many rows."""
        return (rows if self.sample is None else min(rows, self.sample)) * self.repeat

    def share_of(self, lines: Iterable[Line | None], defaults: Defaults) -> int:
        """How many of these lines are of the shard, and not done elsewhere; what is no job is of each."""
        turns = self.lines(lines)
        return sum(line is not None and (line.data is None or self._has(line, line.data, defaults)) for line in turns)

    def _has(self, line: Line, data: Data, defaults: Defaults) -> bool:
        try:
            ident = name_of(data, defaults)
        except LineError:
            return True
        named = ident if self.repeat == 1 else _name_of(ident, line.seq % self.repeat)
        return (self.shard is None or self.shard.has(ident)) and not self.has_elsewhere(named)

    def takes(self, ident: str) -> bool:
        """Whether a job is of this shard; all turns of a row are."""
        return self.shard is None or self.shard.has(ident if self.repeat == 1 else ident.rpartition("~")[0])

    def has_elsewhere(self, ident: str) -> bool:
        """Whether another run has a result of this id."""
        return self._elsewhere is not None and ident in self._elsewhere

    def is_done(self, job: Job) -> bool:
        """Whether another run has the result of this very request, or one of this id that does not say of which."""
        return self._elsewhere is not None and self._elsewhere.get(job.id) in ("", job.hash)


class Turns:
    """Makes jobs of rows that are asked so many times, for one pass over the input; `seen` as `Ids` has it."""

    def __init__(self, seen: Callable[[str], bool], repeat: int = 1) -> None:
        self._turns = (Ids(seen),) if repeat == 1 else tuple(Ids(partial(_seen, seen, turn)) for turn in range(repeat))

    def job(self, parse: Parser, line: Line, defaults: Defaults) -> Job:
        """The job on a line. Raises LineError if there is none."""
        if line.data is None:
            raise too_large()
        turns = self._turns
        if len(turns) == 1:
            return parse(line.data, line.seq, defaults, turns[0])
        row, turn = divmod(line.seq, len(turns))
        return _turn_of(parse(line.data, row, defaults, turns[turn]), line.seq, turn)

    @property
    def derived(self) -> int:
        """How many rows had no id."""
        return sum(ids.derived for ids in self._turns)

    @property
    def repeated(self) -> bool:
        """Whether one of these was like another."""
        return any(ids.repeated for ids in self._turns)

    def replay(self) -> None:
        """From now on give each row the id that it got before."""
        for ids in self._turns:
            ids.replay()


def _seen(seen: Callable[[str], bool], turn: int, ident: str) -> bool:
    return seen(_name_of(ident, turn))


def _turn_of(job: Job, seq: int, turn: int) -> Job:
    """A job as it is asked for the `turn`-th time from 0: under an id of its own, and with a seed counted on."""
    named = replace(job, id=_name_of(job.id, turn), seq=seq)
    if not turn:
        return named
    counted = replace(
        named,
        params=_seeded(job.params, turn),
        options=_seeded(job.options, turn),
        extra=_seeded(job.extra, turn),
        body=None if job.body is None else dict(_seeded(job.body, turn)),
    )
    return named if counted == named else rehashed(counted)


def _name_of(ident: str, turn: int) -> str:
    """The id of a job that is asked for the `turn`-th time from 0."""
    return f"{ident}~{turn + 1}"


def _seeded(values: Mapping[str, Json], turn: int) -> Mapping[str, Json]:
    """Some parameters with another seed, if they have one."""
    seed = values.get("seed")
    return {**values, "seed": seed + turn} if type(seed) is int else values


def answered(line: bytes) -> tuple[str, str | None] | None:
    """(id, hash of the request if it is told) of a line with an answer on it, ours or OpenAI's; `None` otherwise."""
    try:
        record: Json = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(record, dict) or record.get("error") is not None:
        return None
    ident = record.get("custom_id", record.get("id"))
    if isinstance(ident, bool) or not isinstance(ident, str | int):
        return None
    response = record.get("response")
    if isinstance(response, dict):
        return (str(ident), None) if response.get("status_code", _OK) == _OK else None
    digest = record.get("hash")
    return (str(ident), digest) if isinstance(digest, str) else (str(ident), None) if _has_answer(record) else None


def _has_answer(record: Mapping[str, Json]) -> bool:
    """Whether a line of another program holds what was answered."""
    return any(
        record.get(key) is not None for key in ("text", "output", "output_text", "embedding", "response_message")
    )
