"""Inputs that lie elsewhere, by fsspec: s3://, gs://, hf://, https:// and what else it knows."""

from __future__ import annotations

import http
import io
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast
from urllib.parse import urlsplit, urlunsplit

from batcher.failures import BatcherError, ConfigError, InputError
from batcher.inputs import compression
from batcher.inputs.formats import FORMATS, HEAD, by_extension, by_look
from batcher.inputs.formats.reading import missing
from batcher.inputs.steady import Steady
from batcher.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from batcher.inputs.formats import Format
    from batcher.inputs.formats.reading import Reading, Rows
    from batcher.inputs.part import Part
    from batcher.model import Json

_CHUNK: Final = 256 * 1024
_TEXT: Final = 4 << 20
"""Bytes of a text that are asked for at a time."""
_PART: Final = 1 << 20
"""As these, of a file of which not all is read."""
_MARKS: Final = ("ETag", "etag", "mtime", "LastModified", "last_modified", "sha256", "blob_id", "md5Hash", "generation")
"""What stores call that by which a file is known again; the size alone says too little."""


def remote_parts(url: str, form: Format | None, reading: Reading) -> list[Part]:
    """The file of a URL, or those that a pattern matches, sorted. Raises ConfigError (78), InputError."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise missing(without_secrets(url), "fsspec", "remote") from None
    try:
        system, path = url_to_fs(url)
        paths = sorted(system.glob(path), key=str.encode) if any(mark in path for mark in "*[") else [path]
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{without_secrets(url)}: {Redactor().text(str(error))}") from None
    except Exception as error:  # noqa: BLE001 - of whichever library; what it says holds the URL
        raise _failed(url, error) from None
    if not paths:
        raise InputError(f"{without_secrets(url)}: there is no file")
    return [RemotePart(path if len(paths) > 1 else url, system, path, form, reading) for path in paths]


class RemotePart:
    """A file that is not on this machine. It is read anew each time that it is asked for."""

    is_regular = True
    is_near = False

    def __init__(self, url: str, system: Any, path: str, form: Format | None, reading: Reading) -> None:
        self.name = without_secrets(url)
        self._system, self._path = system, path
        self._reading = replace(reading, note=lambda words: reading.note(f"{self.name}: {words}"))
        plain = urlsplit(url).path if "://" in url else url
        suffix = next((end for end in compression.EXTENSIONS if plain.lower().endswith(end)), "")
        self._packing = compression.EXTENSIONS.get(suffix)
        self._is_web = "http" in _protocols(system)
        about = self._ask(system.info, path)
        if about.get("type") == "directory":
            inside = f"{self.name.rstrip('/')}/*.parquet"
            raise InputError(f"{self.name} is a directory; say which of its files, such as {inside}")
        self._marks = marks = _marks_of(about)
        self._form = form or by_extension(plain[: len(plain) - len(suffix)]) or self._looked_at()
        self.fingerprint: dict[str, Json] = {}
        if marks:
            said = {"encoding": reading.encoding} if reading.encoding else {}
            self.fingerprint = {
                "path": self.name,
                "size": about.get("size"),
                **marks,
                "format": self._form.name,
                **said,
            }

    def identities(self) -> Sequence[tuple[int, int]]:
        return ()

    def is_unchanged(self) -> bool:
        return False  # it would have to be asked for

    def would_read(self, _path: Path) -> bool:
        return False

    def rows(self, first: int, _checkpoint: Callable[[], object] = bool) -> Rows:
        opened = self._ask(self._opened, self._form)
        file = self._unpacked(opened)
        if self._reading.encoding is not None and self._form.is_text:
            from batcher.inputs.formats.encodings import Recoded

            file = cast("BinaryIO", Recoded(file, self._reading.encoding))
        try:
            end = yield from self._form.read(file, self._reading, first)
            self._check()
        except BatcherError:
            raise
        except Exception as error:  # noqa: BLE001 - of whichever library; what it says holds the URL
            raise _failed(self.name, error) from None
        finally:
            opened.close()
        return end

    def place(self, number: int) -> tuple[str, str, int]:
        return self.name, self._form.unit, number + 1

    def close(self) -> None: ...

    def _looked_at(self) -> Format:
        with self._ask(self._opened, FORMATS["text"]) as file:
            head = self._ask(file.read, HEAD)
        if self._packing is None:
            self._packing = compression.packing_of(head)
        return by_look(self._unpacked(io.BytesIO(head)).read(HEAD) if self._packing else head, self._reading)

    def _opened(self, form: Format) -> BinaryIO:
        """The file, to be read from its start on or, if it is not text, anywhere."""
        is_stream = self._is_web and (form.is_text or not self._has_parts())
        block = 0 if is_stream else _TEXT if form.is_text else _PART
        opened = partial(self._system.open, self._path, "rb", block_size=block)
        file = io.BufferedReader(Steady(opened, self._check), _CHUNK)
        if form.is_text or not is_stream:
            return cast("BinaryIO", file)
        whole = tempfile.TemporaryFile()  # noqa: SIM115 - whoever reads it has it as long as there are rows
        with file:
            shutil.copyfileobj(file, whole, _CHUNK)
        whole.seek(0)
        return cast("BinaryIO", whole)

    def _has_parts(self) -> bool:
        """Whether a web server gives a file in parts (RFC 9110, 14): many give all of it, whatever is asked for."""
        with self._system.open(self._path, "rb", block_size=0, headers={"Range": "bytes=0-0"}) as file:
            return bool(file.r.status == http.HTTPStatus.PARTIAL_CONTENT)

    def _check(self) -> None:
        """Raise InputError if the file is another one by now."""
        found = {}
        with suppress(Exception):  # whoever cannot be asked does not say so
            self._system.invalidate_cache()
            found = _marks_of(self._system.info(self._path))
        if self._marks and found and found != self._marks:
            raise InputError(f"{self.name} was changed while it was read; the rows up to there are of either one")

    def _unpacked(self, file: BinaryIO) -> BinaryIO:
        return cast("BinaryIO", compression.Unpacked(file, self._packing)) if self._packing else file

    def _ask(self, act: Callable[..., Any], *args: Any) -> Any:
        try:
            return act(*args)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"{self.name}: {Redactor().text(str(error))}") from None
        except Exception as error:  # noqa: BLE001 - of whichever library; what it says holds the URL
            raise _failed(self.name, error) from None


def without_secrets(url: str) -> str:
    """A URL without user, password, query and fragment, any of which may be a key."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")) if parts.scheme else url


def _protocols(system: Any) -> tuple[str, ...]:
    """What a file system is called in URLs."""
    names = system.protocol
    return (names,) if isinstance(names, str) else tuple(names)


def _marks_of(about: Mapping[str, Any]) -> dict[str, Json]:
    return {name: str(about[name]) for name in _MARKS if about.get(name)}


def _status(error: BaseException) -> int | None:
    """The status that a server answered with, by the names of aiohttp, gcsfs, and of requests and httpx."""
    for name in ("status", "response", "code"):  # in this order: aiohttp has a status, and warns of its code
        said = getattr(error, name, None)
        code = getattr(said, "status_code", said)
        if type(code) is int and 300 <= code < 600:
            return code
    return None


def _failed(url: str, error: Exception) -> InputError:
    """What went wrong, by its kind: the words of a store may hold the URL, and that a key."""
    name = without_secrets(url)
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    status = next((code for one in chain if (code := _status(one)) is not None), None)
    if status is not None:
        phrase = http.HTTPStatus(status).phrase if status in {*http.HTTPStatus} else ""
        return InputError(f"{name} cannot be read: the server says {status} {phrase}".rstrip())
    cause = chain[-1] if isinstance(error, FileNotFoundError) and len(chain) > 1 else error
    words = str(error) if isinstance(error, FileNotFoundError | PermissionError) else ""
    shown = f" ({words.splitlines()[0][:200]})" if words and "?" not in words and "@" not in words else ""
    return InputError(f"{name} cannot be read: {type(cause).__name__}{shown}")
