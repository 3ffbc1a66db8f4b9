"""Asks a server for something small, to learn whether anybody is there; no generation is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.failures import AttemptError
from batcher.model import Api

if TYPE_CHECKING:
    from batcher.model import Endpoint
    from batcher.wire.transport import Transport

WITHIN_S: Final = 10.0
PATHS: Final = {Api.NATIVE: "/api/version", Api.OPENAI: "/v1/models"}
NOBODY: Final = frozenset({502, 503, 504, *range(520, 525)})
"""Statuses by which a proxy says that nobody is there (Cloudflare has 520 to 524), or a server that it is not ready."""
READ_BADLY: Final = frozenset({"bad_http", "cut", "malformed", "truncated", "answer_too_large"})
"""Failures behind a status line: somebody is there, whatever became of the rest of his answer."""


async def is_there(transport: Transport, endpoint: Endpoint) -> bool:
    """Whether a server answers a GET, whatever it says, that costs it nothing."""
    url = endpoint.url(PATHS[endpoint.api])
    try:
        reply = await transport.request("GET", url, headers=endpoint.headers, timeout=WITHIN_S)
    except AttemptError as error:
        return error.failure.code in READ_BADLY
    return reply.status not in NOBODY
