"""The API paths a line may name, in whichever way its author's server is addressed, and what each asks for."""

from __future__ import annotations

import re
from difflib import get_close_matches

from batcher.failures import LineError
from batcher.inputs.formats.shapes import unspoken
from batcher.model import ENDPOINTS, Kind

TAILS: dict[str, str] = {
    **{path.removeprefix("/v1"): path for path in ENDPOINTS if path.startswith("/v1/")},
    **{path: path for path in ENDPOINTS},
}
"""How a URL ends → the path that is meant: `/v1` is a part of the base URL on Azure and others."""
VERSION = re.compile(r"v\d\w*|openai")
LONGEST_URL = 8192
"""Characters; whatever is longer is no URL of an endpoint."""


def endpoint_of(named: object) -> tuple[str, Kind]:
    """The path that a line's `url` means, and what it asks for. Raises `LineError` with the nearest known path.

    Azure's batch lines say `/chat/completions`, others the full URL of their server, with a query perhaps: the path
    counts, and the run's base URL says where it goes (https://learn.microsoft.com/azure/ai-foundry/openai/how-to/batch).
    """
    path = named if isinstance(named, str) else ""
    kind = ENDPOINTS.get(path)
    if kind is None:
        path = _meant(path)
        kind = ENDPOINTS.get(path)
    if kind is None:
        raise LineError("unknown_endpoint", _unknown(named))
    return path, kind


def _meant(url: str) -> str:
    """The known path in which a URL ends, at the border of a part; "" if there is none."""
    if len(url) > LONGEST_URL:
        return ""
    path = url.partition("#")[0].partition("?")[0].strip().rstrip("/")
    host_or_scheme = path.partition("://")[2]
    if host_or_scheme:
        path = host_or_scheme.partition("/")[2]
    parts = path.strip("/").split("/")
    for count in range(min(3, len(parts)), 0, -1):
        known = TAILS.get("/" + "/".join(parts[-count:]))
        if known is not None:
            return known if count > 1 or _may_stand_before(parts[:-1]) else ""
    return ""


def _may_stand_before(parts: list[str]) -> bool:
    """Whether a single word such as `completions` may follow: else `/v1/chats/completions` would be one."""
    return not parts or parts[-2:-1] == ["deployments"] or VERSION.fullmatch(parts[-1]) is not None


def _unknown(path: object) -> str:
    if not isinstance(path, str):
        return f'"url" must be the path of an endpoint as text, such as "/v1/chat/completions", not {path!r:.40}'
    if what := unspoken(path):
        return f'"{path:.200}" is for {what}, which batcher does not speak; it speaks {", ".join(ENDPOINTS)}'
    nearest = get_close_matches(path, ENDPOINTS, n=1, cutoff=0.5)
    if nearest:
        return f'there is no endpoint "{path:.200}"; did you mean "{nearest[0]}"?'
    return f'there is no endpoint "{path:.200}"; known are {", ".join(ENDPOINTS)}'
