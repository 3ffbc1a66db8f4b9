"""Says what a run takes its input for before the first of it is sent: `500 prompts to /api/chat`."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.figures import count
from batcher.model import Kind
from batcher.wire.dialects import path_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from batcher.inputs.formats.defaults import Defaults
    from batcher.inputs.shard import Shard
    from batcher.model import Api, Job
    from batcher.running.preparation import Jobs

_NOUNS = {
    Kind.CHAT: "conversations",
    Kind.GENERATE: "prompts",
    Kind.EMBED: "texts to embed",
    Kind.RESPONSES: "prompts",
    Kind.IMAGE: "prompts for images",
}
PREFIXES: Final = (
    (re.compile(r"nomic-embed(?!-code|-vision)"), "'search_document: ' before texts"),
    (re.compile(r"(?:^|[/-])(?:multilingual-)?e5-(?!mistral)"), "'passage: ' before texts"),
    (re.compile(r"embeddinggemma"), "'title: none | text: ' before texts"),
    (re.compile(r"(?:^|[/-])bge-(?!m3|reranker)"), "words of its own before queries"),
)
"""Models that were trained on texts with something before them: their cards on huggingface.co (nomic-ai, intfloat,
google, BAAI)."""
MOST = 20
"""Kinds of lines that are told; a file of more is no surprise to its author."""


class Share(NamedTuple):
    """What a run takes of an input: how many jobs, as far as that is known; which part; how many new ones at most."""

    jobs: Jobs | None = None
    shard: Shard | None = None
    limit_new: int | None = None

    def many(self, things: str) -> str:
        """`500 prompts`: never more than are asked."""
        if self.limit_new is not None and (self.jobs is None or self.limit_new < self.jobs.share):
            return f"at most {count(self.limit_new, things)}"
        if self.jobs is None:
            return things
        return f"{'about ' if self.jobs.is_about else ''}{count(self.jobs.share, things)}"

    def of(self) -> str:
        """Of how many these are, if they are not all."""
        part = "" if self.shard is None else f"part {self.shard} "
        if self.jobs is None or (not part and self.jobs.whole <= min(self.jobs.share, self.limit_new or sys.maxsize)):
            return part and f" ({part.rstrip()})"
        return f" ({part}of {count(self.jobs.whole)})"

    def none(self) -> str:
        """Say that of the rows that there are none is chosen; "" if there are some, for all that is known."""
        if self.jobs is None or self.jobs.share or not self.jobs.whole:
            return ""
        part = "" if self.shard is None else f" for part {self.shard}"
        return f"none of {count(self.jobs.whole, 'rows')} is chosen{part}: there is nothing to ask"


def announced(
    jobs: Iterable[Job | None],
    api: Api,
    defaults: Defaults,
    *,
    note: Callable[[str], None],
    share: Share,
    place: Callable[[int], object],
) -> Iterator[Job | None]:
    """Pass jobs on, and note what they are: of the first how many, of other kinds on which line they begin."""
    kinds: set[tuple[Kind, str | None, bool]] = set()
    told: set[tuple[str, str]] = set()
    shapes = 0
    if words := share.none():
        note(words)
    for job in jobs:
        if job is not None and (
            (kind := (job.kind, job.path, job.body is None)) not in kinds or len(defaults.shapes) > shapes
        ):
            kinds.add(kind)
            noun = next(reversed(defaults.shapes)) if len(defaults.shapes) > shapes else _noun(job)
            shapes, what = len(defaults.shapes), (noun, path_for(job, api))
            if what not in told and len(told) < MOST:
                note(f"{place(job.seq)}: {noun} to {what[1]}" if told else _words(*what, job, defaults, share))
                if job.kind is Kind.EMBED and not defaults.prefix and (wanted := _prefix_of(job.model)):
                    note(f"{job.model} was trained with {wanted}; --prefix puts something before each")
            told.add(what)
        yield job


def _words(noun: str, path: str, job: Job, defaults: Defaults, share: Share) -> str:
    made = ""
    if defaults.recipe is not None and defaults.recipe.asks:
        is_fixed = defaults.recipe.columns == () and not job.images
        made = f", made by the template{', which names no column: all rows ask the same' if is_fixed else ''}"
    with_images = " with images" if job.images else ""
    things, mark, purpose = noun.partition(" to ")
    return f"{share.many(things)}{mark}{purpose}{with_images}{share.of()} to {path}{made}"


def _prefix_of(model: str | None) -> str | None:
    """What the texts of a model are known to begin with, if it is known."""
    return next((text for known, text in PREFIXES if model and known.search(model.lower())), None)


def _noun(job: Job) -> str:
    if job.body is not None:
        return "batch lines"
    if job.kind is Kind.CHAT and len(job.content) == 1:
        return "prompts"
    return _NOUNS[job.kind]
