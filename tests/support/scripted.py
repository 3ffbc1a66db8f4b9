"""A requester that answers from a script: what a server says of itself is decided without sockets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import orjson

from batcher.failures import AttemptError, Failure, FailureClass
from batcher.model import Api, Endpoint, Json
from batcher.servers.probe import describe

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from batcher.servers.catalogue import About

ROOT = "http://127.0.0.1:9"


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


NOT_FOUND = Reply(404, b"404 page not found", {"content-type": "text/plain"})
REFUSED = Failure(FailureClass.CONNECTION, "refused", "connection refused")


def reply(value: Json, **headers: str) -> Reply:
    return Reply(200, orjson.dumps(value), {"content-type": "application/json", **headers})


class Script:
    """Answers by path as written down, and 404 to the rest; keeps what was asked."""

    def __init__(self, replies: Mapping[str, Reply | Failure]) -> None:
        self.replies = replies
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", timeout: float = 10.0
    ) -> Reply:
        assert timeout <= 10.0
        path = urlsplit(url).path
        self.asked.append((method, path, dict(headers), body))
        answer = self.replies.get(path, NOT_FOUND)
        if isinstance(answer, Failure):
            raise AttemptError(answer)
        return answer

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _, _ in self.asked]


def described(
    script: Script, api: Api, *, wanted: Collection[str] = (), v1: str = "/v1", root: str = ROOT, key: bool = False
) -> About:
    headers = {"Authorization": "Bearer canary-0123456789"} if key else {}
    endpoint = Endpoint(root=root, api=api, v1=v1, headers=headers)

    async def main() -> About:
        return await describe(script, endpoint, wanted=wanted)

    return anyio.run(main)
