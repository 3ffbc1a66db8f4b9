"""What a worker is told to do, where it is to report, and who starts it."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from batcher.exchange.timeouts import Timeouts
from batcher.model import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from batcher.redaction import Secret

SPOKEN: Final = f"batcher {VERSION} on Python {'.'.join(platform.python_version_tuple()[:2])}"
"""What a run and its workers must have in common, as they speak in pickles; said before the first of those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """Where a worker is to report, as which number, and what it shows there. `secret` is good for this worker alone."""

    host: str
    port: int
    number: int
    secret: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How a run's workers are to work. Proxies, whose URLs may hold passwords, and the model are as in `Options`."""

    timeouts: Timeouts = field(default_factory=Timeouts)
    connect_timeout: float = 10.0
    secure: bool = False
    """Some of it goes over TLS."""
    authority: bytes = b""
    """The certificates of `--ca-file`; that may not be there on other machines."""
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    raw: bool = False
    """The whole response is wanted."""
    local: bool = False
    """The worker has a server of its own, and asks no other."""
    model: Path | None = None
    slots: int = 1
    threads: int | None = None


class Placement(Protocol):
    """Starts workers somewhere."""

    @property
    def lacks(self) -> str:
        """Why nobody can be placed as it stands, once it is open; empty if nothing is in the way."""

    def open(
        self, gone: Callable[[int, str], None], broken: Callable[[Exception], None]
    ) -> AbstractAsyncContextManager[str]:
        """Be ready to place workers while the block runs, and end them behind it. Gives the address of this machine
        as those machines know it; `gone` is told of workers that have died, and `broken` of an error after which
        nobody is placed any more. Raises BatcherError.
        """

    def place(self, errand: Errand) -> None:
        """Start a worker."""

    def dismiss(self, number: int) -> None:
        """End one, if it still is there, and give free what it had of its machine."""
