"""What becomes of finished jobs: lines into the results file or the errors file, images beside them, the sums."""

from __future__ import annotations

import base64
import binascii
import re
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from batcher.codec import media_type
from batcher.failures import OutputError, OutputIOError, internal, malformed
from batcher.inputs.done import id_hash
from batcher.ledger import disk
from batcher.ledger.lines import error_line, pack_lines, result_line
from batcher.ledger.writer import Executor
from batcher.outcome import by_call

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from batcher.inputs.part import Place
    from batcher.ledger.errors import ErrorsFile
    from batcher.ledger.lines import Entry
    from batcher.ledger.writer import Writer
    from batcher.model import Json
    from batcher.outcome import Result
    from batcher.redaction import Redactor
    from batcher.running.copies import Copies
    from batcher.running.vectors import Vectors
    from batcher.view.summary import Summary


@dataclass(slots=True, kw_only=True)
class Recorder:
    """One writer for one run. `images` is the directory for image files, made when the first one comes."""

    writer: Writer
    errors: ErrorsFile | None
    summary: Summary
    redactor: Redactor
    images: Path
    base64: bool = False
    finished: Callable[[Result], None] | None = None
    vectors: Vectors | None = None
    """Where vectors go, if not on the lines."""
    copies: Copies | None = None
    """What waits for the answers to other jobs."""
    place: Callable[[int], Place] | None = None
    """Where the row of a job stands in the inputs."""
    _held: Sequence[Result] = ()
    """What is being written just now."""
    _complained: bool = False

    async def record(self, results: Sequence[Result]) -> None:
        """Write results and failures in one go each, and count them.

        Raises OutputIOError if results cannot be kept, and BrokenPipeError from a stream that nobody reads.
        """
        self._held = results
        for result in results:
            if result.completion is not None and result.completion.images:
                await self._save_with_room(result)
        if self.vectors is not None:
            await self._put_vectors(self.vectors, results)
        lines = self._lines(results)
        if lines:
            await self.writer.append(lines)
        self._held = ()
        self._count(results)

    async def record_last(self, results: Sequence[Result]) -> None:
        """Keep what a run that is cut off has still got, in one try; what does not get in is asked again."""
        ledger = self.writer.ledger
        left = [result for result in (*self._held, *results) if self._keeps_images(result)]
        new = [result for result in left if result.id not in ledger]
        if self.vectors is not None and not self._keeps_vectors(self.vectors, new):
            return
        lines = self._lines(new)
        if left and await self.writer.append_last(lines):
            self._count([result for result in left if not result.ok or result.id in ledger])

    async def record_copies(self) -> None:
        """Write and count the jobs that have the answer, or the failure, of another. Raises as `record` does."""
        while self.copies is not None:
            lines, copied, failed = self.copies.batch()
            if not copied and not failed:
                return
            if lines:
                await self.writer.append(lines)
            for result in failed:
                self._fail(result)
            self._count([*copied, *failed])
            self.copies.wake()

    def reject(self, result: Result) -> None:
        """Write and count a failure that nothing was sent for."""
        self._fail(result)
        self._count([result])

    def _lines(self, results: Sequence[Result]) -> list[Entry]:
        """Make the lines of what succeeded; what failed is in the errors file after it."""
        lines: list[Entry] = []
        for together in by_call(results):
            if _is_whole(together):
                made = pack_lines(together, base64=self.base64, redactor=self.redactor)
                lines += [(result.id, result.hash, line) for result, line in zip(together, made, strict=True)]
                continue
            for result in together:
                if result.ok:
                    try:
                        line = result_line(result, base64=self.base64, redactor=self.redactor)
                    except Exception as error:  # noqa: BLE001 - a bug met by one answer must not cost the others
                        result.failure, result.vector = internal(error), None
                    else:
                        lines.append((result.id, result.hash, line))
                if result.failure is not None:
                    self._fail(result)
        return lines

    def _count(self, results: Sequence[Result]) -> None:
        for together in by_call(results):
            if self.vectors is not None:
                self.vectors.kept(together)
            if _is_whole(together):
                self.summary.add_pack(together)
            else:
                for result in together:
                    self.summary.add(result)
            for result in together:
                if self.finished is not None:
                    self.finished(result)
                if self.copies is not None and result.failure is not None:
                    for copy in self.copies.failed(result):
                        self._fail(copy)
                        self._count([copy])

    def _fail(self, result: Result) -> None:
        assert result.failure is not None
        result.failure = replace(result.failure, message=self.redactor.text(result.failure.message))
        if self.errors is None:
            return
        try:
            at = None if result.timing else time.time()
            self.errors.append(error_line(result, at=at, redactor=self.redactor, place=self._place(result)))
        except OutputError as error:
            # results are worth more than the list of what is missing among them: that can be had again
            if not self._complained:
                self._complained = True
                self.writer.note(f"{error}; the run goes on, and tries again with the next failure")

    def _place(self, result: Result) -> Mapping[str, Json] | None:
        return None if self.place is None else self.place(result.seq).fields()

    async def _save_with_room(self, result: Result) -> None:
        if result.ok:
            await self.writer.with_room(partial(self._save_images, result), Executor.THREAD)

    async def _put_vectors(self, vectors: Vectors, results: Sequence[Result]) -> None:
        if any(result.ok for result in results):
            self.writer.ledger.empty()  # with results that are to be overwritten their vectors go
        if rows := vectors.rows_of(results):
            await self.writer.with_room(partial(vectors.put, rows), Executor.LOOP)

    def _keeps_vectors(self, vectors: Vectors, results: Sequence[Result]) -> bool:
        """Write the vectors of results in one try; whether that went well."""
        try:
            if any(result.ok for result in results):
                self.writer.ledger.empty()
            if rows := vectors.rows_of(results):
                vectors.put(rows)
        except OutputIOError:
            return False
        return True

    def _keeps_images(self, result: Result) -> bool:
        """Save the images of a result that has some, in one try; whether that went well."""
        try:
            if result.ok and result.completion is not None and result.completion.images and result.image is None:
                self._save_images(result)
        except OutputIOError:
            return False
        return True

    def _save_images(self, result: Result) -> None:
        """Write the images of a result; their paths in it are relative to the results file's directory."""
        assert result.completion is not None
        paths = []
        try:
            images = [base64.b64decode(text, validate=True) for text in result.completion.images or ()]
        except binascii.Error as error:
            result.failure = malformed(f"an image is not base64: {error}")
            return
        try:
            with disk.directory(self.images) as directory:
                for number, data in enumerate(images):
                    kind = (media_type(data) or "image/png").partition("/")[2]
                    name = f"{_file_name(result)}-{number}.{kind}"
                    disk.put(directory, name, data)
                    paths.append(f"{self.images.name}/{name}")
        except OSError as error:
            raise OutputIOError(f"{self.images}: an image cannot be saved: {error.strerror}") from error
        result.image = paths


def _is_whole(results: Sequence[Result]) -> bool:
    """Whether these are the results of a pack, and all of them answers."""
    return len(results) > 1 and not any(result.failure for result in results)


def _file_name(result: Result) -> str:
    """A name that no id can lead out of the directory, and that no other job has.

    The line may be another job's tomorrow, and a part of an id another id's: it is the hashes that tell them apart.
    """
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", result.id)[:80]
    ident = "" if readable == result.id else f"-{id_hash(result.id) & 0xFFFF_FFFF:08x}"
    return f"{result.seq + 1}-{readable}{ident}-{result.hash}"
