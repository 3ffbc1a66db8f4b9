"""The ways in which servers write down when to come back: headers, and words in the body. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, NamedTuple

HINTS = ("seconds", "date", "ms", "body", "metadata", "go", "plain", "iso", "epoch", "epoch-ms", "none")
"""Retry-After in seconds, or as a date; retry-after-ms; "try again in 1.2s"; OpenRouter's `error.metadata`; and
x-ratelimit-reset-* alone, written 6m0s, 7.66, 2026-01-01T00:00:07Z, as seconds or milliseconds since 1970."""


class Hint(NamedTuple):
    """What a refusal says: headers, words to add to its message, and keys to add to its error object."""

    headers: tuple[tuple[str, str], ...] = ()
    words: str = ""
    extra: dict[str, Any] | None = None


def hinted(kind: str, wait: float, now: float) -> Hint:
    """Say `wait` seconds in one way. `now` is the server's wall clock, in seconds since 1970."""
    if kind == "seconds":
        return Hint((("Retry-After", str(max(1, -int(-wait // 1)))),))
    if kind == "date":
        return Hint((("Retry-After", formatdate(-int(-(now + wait) // 1), usegmt=True)),))
    if kind == "ms":
        return Hint((("retry-after-ms", f"{wait * 1000:.0f}"),))
    if kind == "body":
        return Hint(words=f" Please try again in {go_duration(wait)}.")
    if kind == "metadata":
        return Hint(
            extra={
                "metadata": {
                    "headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset("epoch-ms", wait, now)}
                }
            }
        )
    return Hint()


def reset(kind: str, wait: float, now: float) -> str:
    """A time `wait` seconds from now, as x-ratelimit-reset-* gives it; in OpenAI's way if the kind has none."""
    if kind == "plain":
        return f"{wait:.3f}".rstrip("0").rstrip(".")
    if kind == "iso":
        return datetime.fromtimestamp(now + wait, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if kind == "epoch":
        return f"{now + wait:.0f}"
    if kind == "epoch-ms":
        return f"{(now + wait) * 1000:.0f}"
    return go_duration(wait)


def shows_headers(kind: str) -> bool:
    """Whether answers carry x-ratelimit-* at all."""
    return kind not in ("none", "body", "metadata")


def go_duration(wait: float) -> str:
    """Seconds as Go prints them: `120ms`, `7.66s`, `6m0s`, `15h0m0s`."""
    if wait < 1:
        return f"{wait * 1000:.0f}ms"
    minutes, rest = divmod(round(wait, 2), 60)
    hours, minutes = divmod(int(minutes), 60)
    tail = f"{rest:.2f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{tail}"
    return f"{minutes}m{tail}" if minutes else tail
