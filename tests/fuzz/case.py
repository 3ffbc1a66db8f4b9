"""One input for one reader, and the line of the corpus that it is written as."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Case:
    """Bytes that come from somebody else, and who reads them. `path`, `streamed` and `type` matter to answers alone."""

    reader: str
    data: bytes
    path: str = ""
    streamed: bool = False
    type: str = ""
    name: str = ""

    def line(self) -> str:
        """As it stands in `corpus.jsonl`."""
        told: dict[str, Any] = {"name": self.name, "reader": self.reader}
        told |= {"path": self.path, "streamed": self.streamed, "type": self.type} if self.path else {}
        try:
            told["text"] = self.data.decode()
        except UnicodeDecodeError:
            told["base64"] = base64.b64encode(self.data).decode()
        return orjson.dumps(told).decode()

    @classmethod
    def of(cls, line: bytes) -> Case:
        """As `line` wrote it."""
        told = orjson.loads(line)
        data = told.pop("text").encode() if "text" in told else base64.b64decode(told.pop("base64"))
        return cls(data=data, **told)
