"""Reads a directory, or what a pattern matches: a job a file, under the file's path below the root.

Files that are opened are regular and below the root, whatever links lie there. What begins like an image is one.
"""

from __future__ import annotations

import glob
import io
import os
import re
from base64 import b64encode
from fnmatch import fnmatch
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

from batcher.codec import HEAD, media_type
from batcher.failures import InputError, LineError
from batcher.inputs.compression import EXTENSIONS, unpacked
from batcher.inputs.formats.encodings import Recoded, decoded
from batcher.inputs.formats.images import IMAGE_LIMIT
from batcher.inputs.formats.lines import FOREIGN_MARKS, LINE_LIMIT, Line
from batcher.opening import UnfitError, is_directory, open_below, real

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.inputs.formats.reading import Rows
    from batcher.model import Json

_IMAGE: Final = re.compile(r"\.(?:png|jpe?g|gif|webp|bmp|tiff?|heic|avif|ico)$", re.IGNORECASE)
_BOM: Final = "\ufeff"


def matched(pattern: str) -> tuple[Path, list[str]]:
    """The root of a directory or pattern, and the files below it in the order of the bytes of their paths.

    Hidden files are left out unless the pattern names them. Raises `InputError` if there is none.
    """
    path = Path(pattern)
    if is_directory(path):
        root = path
        found = [os.path.relpath(file, root) for file in _walk(root)]
    else:
        root = root_of(pattern)
        found = [
            os.path.relpath(file, root)
            for file in glob.iglob(pattern, recursive=True)  # noqa: PTH207 - Path.glob has its own idea of `**`
            if os.path.isfile(file)  # noqa: PTH113 - as above: they are texts
        ]
    if not found:
        raise InputError(f"{pattern}: there is no file; the current directory is {Path.cwd()}")
    return root, sorted(set(found), key=os.fsencode)


def would_match(pattern: str, path: Path) -> bool:
    """Whether a file would be matched if it were there; one that a `*` may stand for is, in whichever directory."""
    whole = Path(pattern)
    if is_directory(whole):
        return real(path, follow=True).is_relative_to(real(whole, follow=True)) and not path.name.startswith(".")
    root = root_of(pattern)
    absolute = os.fspath(real(root, follow=True) / os.path.relpath(pattern, root))
    return fnmatch(os.fspath(real(path, follow=True)), absolute.replace("**/", "*"))


def root_of(pattern: str) -> Path:
    """The directory in front of the first part with a mark in it."""
    parts = Path(pattern).parts
    fixed = next(place for place, part in enumerate(parts) if any(mark in part for mark in "*?["))
    return Path(*parts[:fixed])


def _walk(root: Path) -> Iterator[str]:
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".")]
        for name in files:
            file = os.path.join(directory, name)  # noqa: PTH118 - a text for each of very many files
            if not name.startswith(".") and os.path.isfile(file):  # noqa: PTH113 - a str is at hand
                yield file


def marks_of(root: Path, names: list[str]) -> str:
    """A digest of what the files are known again by: name, size, times and inode of each."""
    digest = blake2b(digest_size=16)
    for name in names:
        digest.update(_mark(root, name))
    return digest.hexdigest()


def _mark(root: Path, name: str) -> bytes:
    try:
        status = (root / name).stat()
    except OSError:
        return os.fsencode(name) + b"\0gone\0"
    times = status.st_mtime_ns, status.st_ctime_ns
    return os.fsencode(name) + f"\0{status.st_size}\0{times}\0{status.st_ino}\0".encode()


def read_files(root: Path, names: list[str], first: int, encoding: str | None = None) -> Rows:
    """A row for each file."""
    for seq, name in enumerate(names, first):
        yield Line(seq, 0, FileRow(root, name, encoding))
    return first + len(names)


def _no_text(path: str, data: bytes) -> tuple[str, str] | None:
    """(code, what is wrong with it), of a file that is plainly no text."""
    if _IMAGE.search(path):
        return "image_type", "is no PNG, JPEG, WebP or GIF; convert it first"
    foreign = next((what for mark, what in FOREIGN_MARKS.items() if data.startswith(mark)), None)
    if foreign is not None and not foreign.startswith("UTF-"):
        return "file_no_text", f"is {foreign}"
    return None


class FileRow:
    """A file, opened when it is asked for. See `rows.Row`."""

    __slots__ = ("_encoding", "_name", "_root")

    def __init__(self, root: Path, name: str, encoding: str | None = None) -> None:
        self._root, self._name, self._encoding = root, name, encoding

    def values(self) -> dict[str, Json]:
        """`id` and `path`, and `text`, or `images` with the file's bytes as base64."""
        path = self._path()
        data = self._read()
        if media_type(data[:HEAD]) is not None:
            if len(data) > IMAGE_LIMIT:
                raise self._error("image_too_large", f"is an image of more than {IMAGE_LIMIT >> 20} MiB; scale it down")
            return {"id": path, "path": path, "images": [b64encode(data).decode()]}
        if (what := _no_text(path, data)) is not None:
            raise self._error(*what)
        if self._encoding is not None:
            data = Recoded(io.BytesIO(data), self._encoding).read()
        try:
            text = decoded(data)
        except LineError as error:
            error.id = path
            error.message = f"{path}: {error.message}"
            raise
        return {"id": path, "path": path, "text": text.removeprefix(_BOM)}

    def record(self) -> dict[str, Json]:
        values = self.values()
        if "images" in values:
            raise self._error("input_invalid", "is an image; say with --prompt what is asked about it")
        return {"id": values["id"], "prompt": values["text"]}

    def raw(self) -> bytes:
        return _mark(self._root, self._name)

    def _path(self) -> str:
        try:
            self._name.encode()
        except UnicodeEncodeError:
            name = os.fsencode(self._name).decode(errors="backslashreplace")
            raise LineError("input_encoding", f"the name of the file {name} is not UTF-8; rename it") from None
        return self._name

    def _read(self) -> bytes:
        try:
            base = real(self._root, follow=True)
            path = real(base / self._name, follow=True)
            if not path.is_relative_to(base):
                raise self._error("file_outside", f"is a link to a file outside of {self._root}")
            with os.fdopen(open_below(base, path), "rb") as file:
                data = file.read(LINE_LIMIT + 1)
        except UnfitError as error:
            raise self._error("file_unreadable", "is no regular file") from error
        except OSError as error:
            raise self._error("file_unreadable", f"cannot be read: {error.strerror}") from error
        if (packing := EXTENSIONS.get(Path(self._name).suffix.lower())) is not None:
            try:
                data = unpacked(data, packing, LINE_LIMIT + 1)
            except InputError as error:
                raise self._error("file_unreadable", f"cannot be read: {error}") from error
        if len(data) > LINE_LIMIT:
            raise self._error("line_too_large", f"is longer than {LINE_LIMIT >> 20} MiB")
        return data

    def _error(self, code: str, message: str) -> LineError:
        return LineError(code, f"{self._name} {message}", id=self._name)
