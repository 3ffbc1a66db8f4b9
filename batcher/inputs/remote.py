"""Inputs that lie elsewhere, by fsspec: s3://, gs://, hf://, https:// and what else it knows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast
from urllib.parse import urlsplit, urlunsplit

from batcher.failures import BatcherError, ConfigError, InputError
from batcher.inputs import compression
from batcher.inputs.formats import HEAD, by_extension, by_look
from batcher.inputs.formats.reading import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from batcher.inputs.formats import Format
    from batcher.inputs.formats.reading import Reading, Rows
    from batcher.inputs.part import Part
    from batcher.model import Json

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
        raise ConfigError(f"{without_secrets(url)}: {error}") from error
    except Exception as error:
        raise _failed(url, error) from error
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
        self._form = form or by_extension(plain[: len(plain) - len(suffix)]) or self._looked_at()
        about = self._ask(system.info, path)
        marks = {name: str(about[name]) for name in _MARKS if about.get(name)}
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
        file = self._unpacked(self._ask(self._system.open, self._path, "rb"))
        if self._reading.encoding is not None and self._form.is_text:
            from batcher.inputs.formats.encodings import Recoded

            file = cast("BinaryIO", Recoded(file, self._reading.encoding))
        try:
            return (yield from self._form.read(file, self._reading, first))
        except BatcherError:
            raise
        except Exception as error:
            raise _failed(self.name, error) from error

    def place(self, number: int) -> tuple[str, str, int]:
        return self.name, self._form.unit, number + 1

    def close(self) -> None: ...

    def _looked_at(self) -> Format:
        with self._ask(self._system.open, self._path, "rb") as file:
            head = self._ask(file.read, HEAD)
            if self._packing is None:
                self._packing = next(
                    (kind for magic, kind in compression.MAGIC.items() if head.startswith(magic)), None
                )
            file.seek(0)
            return by_look(self._unpacked(file).read(HEAD) if self._packing else head, self._reading)

    def _unpacked(self, file: BinaryIO) -> BinaryIO:
        return cast("BinaryIO", compression.Unpacked(file, self._packing)) if self._packing else file

    def _ask(self, act: Callable[..., Any], *args: Any) -> Any:
        try:
            return act(*args)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"{self.name}: {error}") from error
        except Exception as error:
            raise _failed(self.name, error) from error


def without_secrets(url: str) -> str:
    """A URL without user, password, query and fragment, any of which may be a key."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")) if parts.scheme else url


def _failed(url: str, error: Exception) -> InputError:
    """What went wrong, by its kind: the words of a store may hold the URL, and that a key."""
    words = str(error) if isinstance(error, FileNotFoundError | PermissionError) else ""
    shown = f" ({words.splitlines()[0][:200]})" if words and "?" not in words and "@" not in words else ""
    return InputError(f"{without_secrets(url)} cannot be read: {type(error).__name__}{shown}")
