"""Which files a run writes, or moves away: what each of them is, by the name that `-o` gives. It opens none."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from batcher.ledger.names import (
    errors_path,
    ids_path,
    images_path,
    part_path,
    quarantine_path,
    state_path,
    superseded_path,
    table_results_path,
    vectors_path,
)
from batcher.outputs.forms import SQLITE, table_of
from batcher.running.apart import keep_apart, keep_from_each_other

if TYPE_CHECKING:
    from batcher.inputs.source import Source
    from batcher.options import Options


@dataclass(frozen=True, slots=True)
class Files:
    """The results, None for standard output, and what stands beside them."""

    results: Path | None
    table: str | None
    """The table that is made of the results, which are in a file beside it."""
    options: Options

    @classmethod
    def of(cls, output: Path | None, options: Options) -> Self:
        """Those of a run whose `-o` that is."""
        if output is None or table_of(str(output)) is None:
            return cls(output, None, options)
        table = str(output)
        return cls(table_results_path(Path(table.removeprefix(SQLITE))), table, options)

    @property
    def errors(self) -> Path | None:
        if self.options.errors is not None or self.results is None:
            return self.options.errors
        return errors_path(self.results)

    @property
    def images(self) -> Path:
        """The directory."""
        return images_path(self.results or Path("batcher.jsonl"))

    def named(self) -> dict[Path, str]:
        """What each of them is, the errors and the images aside."""
        return dict(self._named())

    def check(self) -> None:
        """Raise UsageError if two of them are one; whoever opens them looks at the errors."""
        keep_from_each_other([*self._named(), (self.images, "the directory of images")])

    def keep_from(self, source: Source) -> None:
        """Raise UsageError if one of them is the input, or the errors file is another of them."""
        keep_apart(self.named(), self.errors, self.table, source)

    def _named(self) -> list[tuple[Path, str]]:
        """The same, where one name may have been given to two of them."""
        named, options = list[tuple[Path, str]](), self.options
        if self.results is not None:
            named = [
                (self.results, "the results file"),
                (state_path(self.results), "the state file"),
                (quarantine_path(self.results), "the quarantine"),
                (superseded_path(self.results), "the file of superseded results"),
                (part_path(self.results), "what an --atomic run works on"),
                (vectors_path(self.results), "the store of vectors"),
            ]
        if options.vectors is not None:
            named += [(options.vectors, "the array of vectors"), (ids_path(options.vectors), "the ids of its rows")]
        if self.table is not None:
            named.append((Path(self.table.removeprefix(SQLITE)), "the table"))
        with suppress(OSError):  # a name that is too long is told when it is written
            metrics = options.metrics_file
            if metrics is not None and (metrics.is_file() or not metrics.exists()):  # a device is not replaced
                named.append((metrics, "the file of metrics"))
        return named
