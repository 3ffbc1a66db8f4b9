"""How much goes into one call of many embedding inputs: a number that the user chose, or what the answers teach. Pure.

    grows     four- and twofold a round while calls are short, or while more is done a second; never above what was
              refused
    shrinks   by half where calls take long; back where a larger pack did less
    learns    a limit that the server names, at once; another one, when both halves of a refused pack are served

Work is bytes of the body and a constant for each text, so that a call takes about as long whatever is in it. A text
that makes up a good part of a pack by itself goes alone: short ones do not wait for it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, Protocol

from batcher.failures import FailureClass

if TYPE_CHECKING:
    from batcher.failures import Failure
    from batcher.model import Call
    from batcher.outcome import Attempt

MOST_TEXTS: Final = 128
"""Texts of a pack at most. To find a bad one among them costs 14 calls, and a request beside so many costs little.

Ollama tokenises all inputs of a request at once, each over a connection of its own (llm/llama_server.go)."""
MOST_WORK: Final = 512 << 10
"""Work of a pack at most. OpenAI takes 300,000 tokens in a request, and proxies 1 MB (nginx `client_max_body_size`)."""
START: Final = 4096
LEAST: Final = 256
PER_TEXT: Final = 64
"""Bytes that a text counts for beside its own: what it costs to begin one, and some tokens that frame it."""
ALONE: Final = 4
"""A text that is at least this part of a pack goes alone."""
ROUND: Final = 4
"""Full packs that are looked at before the size is changed."""
SHORT_S: Final = 0.25
"""Below this a pack grows in any case: what a request costs, some ms, is a good part of it."""
BRIEF_S: Final = 0.03
"""Below this it grows fourfold from the start: there is far to go."""
ENOUGH_S: Final = 1.0
"""Above this it grows no more; between the two while that brings something."""
LONG_S: Final = 8.0
"""Above this it shrinks: a failure would throw away too much, and answers come in bursts."""
GAIN: Final = 1.05
"""More done a second than with half as much, for another doubling."""
LOSS: Final = 0.85
"""Less done a second than with half as much: the larger one is worse."""
ALIKE: Final = 1.25
"""Calls in flight in two rounds that can be compared, as a factor."""
UNFILLED: Final = 8
"""Calls in a row that were not full: the input brings no more, and nothing is to be found out."""
PATIENCE: Final = 64
"""Rounds before a size that was refused without a word, or was worse, is tried again; doubled each time."""

_ABOUT_SIZE: Final = re.compile(
    r"batch.{0,20}size|batch_size|too many|too large|max\w*.{0,20}(batch|inputs?\b|items|texts|array)"
    r"|more than \d+|at most \d+|array.{0,40}(length|long|items)|list.{0,40}at most"
    r"|(number|count) of (inputs|texts|items)",
    re.IGNORECASE,
)
"""TEI: "batch size 64 > maximum allowed batch size 32" (router/src/http/server.rs); OpenAI: "'$.input' is invalid …
array too long"; Gemini: "at most 100 requests can be in one batch"; DashScope: "batch size is invalid, it should not
be larger than 10"; pydantic: "List should have at most 16 items"."""
_NUMBER: Final = re.compile(
    r"(?<![\w.])(?<!index )(?<!input )(?<!item )(?<!text )(?<!position )(\d{1,6})(?![\w.]*\d)(?!\])"
    r"(?!\W{0,2}(?:[kmg]i?b|bytes?|megabytes?|kilobytes?|tokens?|char(?:acter)?s?|words?|m?s|sec(?:ond)?s?|dim\w*)\b)",
    re.IGNORECASE,
)
"""A number of texts: none that says which of them it is about (`input[3]`), and none of bytes, tokens or letters."""


class Size(Protocol):
    """How large a pack may be that asks for the same."""

    @property
    def texts(self) -> int: ...
    @property
    def work(self) -> float: ...


class FixedSize(NamedTuple):
    """So many texts, however long."""

    texts: int
    work: float = math.inf


class Packs(Protocol):
    """What is asked before a pack is made, and told of what came of it. Not for calls of other kinds."""

    @property
    def let_others_by(self) -> bool:
        """Whether texts wait for company while calls of other kinds, which come after them, are sent."""

    def size(self, model: str | None, path: str) -> Size:
        """How large packs for this model behind this path may be now; the answer stays true."""

    @property
    def most(self) -> int:
        """Texts of a pack at most, of those that were asked about; 1 if none were."""

    def is_growing(self, call: Call) -> bool:
        """Whether the size of packs like this one is still being found: nothing else can be learnt of them then."""

    def served(self, call: Call, attempt: Attempt, in_flight: int, now: float) -> None:
        """It was answered, with so many in flight, itself included."""

    def failed(self, call: Call) -> None:
        """It ended with a failure."""

    def split(self, call: Call, halves: tuple[Call, Call], failure: Failure | None) -> None:
        """It was refused, and is sent in two."""


@dataclass(frozen=True, slots=True)
class FixedPacks:
    """The size that the user chose, for all."""

    texts: int

    let_others_by: ClassVar[bool] = True

    def size(self, model: str | None, path: str) -> Size:  # noqa: ARG002 - it is the same for all
        return FixedSize(self.texts)

    @property
    def most(self) -> int:
        return self.texts

    def is_growing(self, call: Call) -> bool:  # noqa: ARG002 - it never is
        return False

    def served(self, call: Call, attempt: Attempt, in_flight: int, now: float) -> None:
        pass

    def failed(self, call: Call) -> None:
        pass

    def split(self, call: Call, halves: tuple[Call, Call], failure: Failure | None) -> None:
        pass


@dataclass(slots=True)
class FoundSize:
    """The size of packs for one model behind one path, as it is found."""

    work: float = START
    texts: int = MOST_TEXTS
    is_growing: bool = True
    ceiling: float = MOST_WORK
    _changed_at: float = -math.inf
    _round: list[tuple[float, float, int]] = field(default_factory=list)
    """Work, seconds, and calls in flight, of full packs since the size was changed."""
    _rate: float = 0.0
    """What was done a second, by Little's law, with half as much."""
    _flying: float = 0.0
    _is_capped: bool = False
    _unfilled: int = 0
    _rounds: int = 0
    _try_at: float = math.inf
    _patience: int = PATIENCE

    def served(self, call: Call, attempt: Attempt, in_flight: int, now: float) -> None:
        """Take in a pack that was answered."""
        work, texts = work_of(call), len(call.jobs)
        if attempt.timing.started < self._changed_at:
            return
        if work < self.work / 2 and texts < self.texts:
            self._unfilled += 1
            if self._unfilled >= UNFILLED:
                self.is_growing = False
            return
        self._unfilled = 0
        self._is_capped = texts >= self.texts
        self._round.append((work, max(attempt.timing.total, 1e-6), in_flight))
        if len(self._round) >= ROUND:
            self._end_round(now)

    def refused(self, call: Call, failure: Failure) -> bool:
        """Take in a refusal whose words are about how much was asked for at once; whether they name the texts."""
        if failure.code == "context_overflow":
            return False  # one text is too long, in however large a pack
        numbers = [int(number) for number in _NUMBER.findall(failure.message)]
        named = max((number for number in numbers if 1 <= number < len(call.jobs)), default=0)
        if named and _ABOUT_SIZE.search(failure.message):
            self.texts = min(self.texts, named)
            self.is_growing = False
            return True
        if failure.status == 413:
            self._lower(work_of(call) / 2, lasting=True)
        return False

    def was_too_large(self, work: float, texts: int) -> None:
        """A pack was refused, and its halves were not.

        So little work is too much for no server: there it is the texts, which some take one by one only.
        """
        if work / 2 < LEAST and texts <= self.texts:
            self.texts = max(1, texts // 2)
        self._lower(work / 2)

    def _end_round(self, now: float) -> None:
        self._rounds += 1
        seconds = median(took for _, took, _ in self._round)
        flying = sum(count for _, _, count in self._round) / len(self._round)
        rate = flying * sum(work for work, _, _ in self._round) / sum(took for _, took, _ in self._round)
        if self._rounds >= self._try_at:
            self.ceiling, self._try_at = MOST_WORK, math.inf
        are_alike = self._flying > 0 and max(flying, self._flying) <= ALIKE * min(flying, self._flying)
        if seconds > LONG_S and len(self._round) > 1 and self.work > LEAST:
            self._change(max(LEAST, self.work / 2), 0.0, 0.0, now)
            self.is_growing = False
        elif are_alike and rate < LOSS * self._rate:
            self._lower(self.work / 2)
            self._changed_at = now
        elif self._may_grow(seconds, rate, is_better=not are_alike or rate >= GAIN * self._rate):
            factor = 4 if self.is_growing and seconds < BRIEF_S else 2
            self._change(min(factor * self.work, self.ceiling), rate, flying, now)
        else:
            self.is_growing = False
            self._round.clear()

    def _may_grow(self, seconds: float, rate: float, *, is_better: bool) -> bool:
        if self._is_capped or self.work >= self.ceiling:
            return False
        return seconds < SHORT_S or (rate > 0 and self.is_growing and is_better and seconds < ENOUGH_S)

    def _change(self, to: float, rate: float, flying: float, now: float) -> None:
        self.work, self._rate, self._flying, self._changed_at = to, rate, flying, now
        self._round.clear()

    def _lower(self, to: float, *, lasting: bool = False) -> None:
        """Make packs no larger for now; what is on its way at the size before says nothing new."""
        to = max(LEAST, to)
        if to < self.work:
            self.work = self.ceiling = to
            self._rate = self._flying = 0.0
            self._try_at = math.inf if lasting else self._rounds + self._patience
            self._patience *= 2
        self.is_growing = False
        self._round.clear()


@dataclass(slots=True)
class _Trial:
    """A pack that was refused whole, on its way in halves."""

    size: FoundSize
    work: float
    texts: int
    left: int = 2


@dataclass(slots=True)
class FoundPacks:
    """A size for each model and path, of `most_texts` at most."""

    let_others_by: ClassVar[bool] = False
    most_texts: int = MOST_TEXTS
    _sizes: dict[tuple[str | None, str], FoundSize] = field(default_factory=dict)
    _trials: dict[Call, _Trial] = field(default_factory=dict)

    def size(self, model: str | None, path: str) -> FoundSize:
        found = self._sizes.get((model, path))
        if found is None:
            found = self._sizes[model, path] = FoundSize(texts=self.most_texts)
        return found

    @property
    def most(self) -> int:
        return max((size.texts for size in self._sizes.values()), default=1)

    def is_growing(self, call: Call) -> bool:
        return self.size(call.model, call.path).is_growing

    def served(self, call: Call, attempt: Attempt, in_flight: int, now: float) -> None:
        self.size(call.model, call.path).served(call, attempt, in_flight, now)
        trial = self._trials.pop(call, None)
        if trial is not None:
            trial.left -= 1
            if not trial.left:
                trial.size.was_too_large(trial.work, trial.texts)

    def failed(self, call: Call) -> None:
        self._trials.pop(call, None)

    def split(self, call: Call, halves: tuple[Call, Call], failure: Failure | None) -> None:
        size = self.size(call.model, call.path)
        self._trials.pop(call, None)
        if failure is not None and (size.refused(call, failure) or _tells_nothing(call, failure)):
            return
        trial = _Trial(size, work_of(call), len(call.jobs))
        for half in halves:
            self._trials[half] = trial


def _tells_nothing(call: Call, failure: Failure) -> bool:
    """Whether a pack was split while its server was as good as away: that halves were served later, says nothing."""
    return failure.kind is not FailureClass.PERMANENT and not call.counted


def packs_of(texts: int | None, most: int | None = None) -> Packs:
    """So many texts in each, or as many as are found to be best; servers say that they take `most` at most."""
    if texts is not None:
        return FixedPacks(texts)
    return FoundPacks() if most is None else FoundPacks(min(most, MOST_TEXTS))


def work_of(call: Call) -> float:
    """What there is to do for a call."""
    return len(call.body) + PER_TEXT * len(call.jobs)
