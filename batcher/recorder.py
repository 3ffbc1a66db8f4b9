"""What becomes of finished jobs: lines into the results file or the errors file, images beside them, the sums."""

from __future__ import annotations

import base64
import binascii
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batcher.failures import Failure, FailureClass, OutputIOError
from batcher.formats.images import media_type
from batcher.formats.results import error_line, result_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from batcher.errorsfile import ErrorsFile
    from batcher.ledger import Ledger
    from batcher.model import Result
    from batcher.redaction import Redactor
    from batcher.streamledger import StreamLedger
    from batcher.summary import Summary


@dataclass(slots=True, kw_only=True)
class Recorder:
    """One writer for one run. `images` is the directory for image files, made when the first one comes."""

    ledger: Ledger | StreamLedger
    errors: ErrorsFile | None
    summary: Summary
    redactor: Redactor
    images: Path
    base64: bool = False
    finished: Callable[[Result], None] | None = None

    def record(self, results: Sequence[Result]) -> None:
        """Write results and failures in one go each. Raises OutputIOError, and BrokenPipeError from a stream."""
        lines = []
        for result in results:
            if result.completion is not None and result.completion.images and result.ok:
                self._save_images(result)
            if result.ok:
                line = self.redactor.data(result_line(result, base64=self.base64))
                lines.append((result.id, result.hash, line))
            else:
                self._fail(result)
        if lines:
            self.ledger.append(lines)
        for result in results:
            self.summary.add(result)
            if self.finished is not None:
                self.finished(result)

    def _fail(self, result: Result) -> None:
        assert result.failure is not None
        result.failure = replace(result.failure, message=self.redactor.text(result.failure.message))
        if self.errors is not None:
            self.errors.append(self.redactor.data(error_line(result, at=None if result.timing else time.time())))

    def _save_images(self, result: Result) -> None:
        """Write the images of a result and give it their paths, relative to the results file's directory."""
        assert result.completion is not None
        try:
            images = [base64.b64decode(text, validate=True) for text in result.completion.images or ()]
        except binascii.Error as error:
            result.failure = Failure(FailureClass.PERMANENT, "malformed", f"an image that is no base64: {error}")
            return
        paths = []
        try:
            self.images.mkdir(exist_ok=True)
            for number, data in enumerate(images):
                kind = (media_type(data) or "image/png").partition("/")[2]
                path = self.images / f"{_file_name(result)}-{number}.{kind}"
                path.write_bytes(data)
                paths.append(f"{self.images.name}/{path.name}")
        except OSError as error:
            raise OutputIOError(f"{self.images}: an image cannot be saved: {error.strerror}") from error
        result.image = paths


def _file_name(result: Result) -> str:
    """A name that no id can lead out of the directory; the line number keeps two ids apart."""
    return f"{result.seq + 1}-{re.sub(r'[^A-Za-z0-9_-]+', '_', result.id)[:80]}"
