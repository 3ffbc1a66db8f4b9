"""Reads the answers in tests/recordings/: a header of `# key: value` lines, an empty line, then the body's bytes.

The first line says where the bytes come from: `# captured from SERVER` or `# reconstructed from SOURCE`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "recordings"
SUFFIX = ".http"


@dataclass(frozen=True, slots=True)
class WireFile:
    """One request and the answer to it; `body` holds the bytes with chunked framing removed."""

    name: str
    path: str
    request: Any
    status: int
    content_type: str
    body: bytes
    source: str
    captured: bool

    def dump(self) -> bytes:
        """The bytes of the file, header and all."""
        header = (
            f"# {'captured' if self.captured else 'reconstructed'} from {self.source}",
            f"# request: {json.dumps(self.request, ensure_ascii=False)}",
            f"# path: {self.path}",
            f"# status: {self.status}",
            f"# content-type: {self.content_type}",
        )
        return "\n".join(header).encode() + b"\n\n" + self.body


def names(prefix: str = "") -> list[str]:
    """The names, sorted, of the files whose names begin with `prefix`."""
    return sorted(file.stem for file in FOLDER.glob(f"{prefix}*{SUFFIX}"))


def load(name: str) -> WireFile:
    """The file `name`, without its suffix; raises `ValueError` if its header is not as the module says."""
    header, _, body = (FOLDER / f"{name}{SUFFIX}").read_bytes().partition(b"\n\n")
    origin, *lines = header.decode().split("\n")
    how, separator, source = origin.removeprefix("# ").partition(" from ")
    if not separator or how not in {"captured", "reconstructed"}:
        raise ValueError(f"{name}{SUFFIX}: the first line must be `# captured from …` or `# reconstructed from …`")
    fields = dict(line.removeprefix("# ").split(": ", 1) for line in lines)
    return WireFile(
        name=name,
        path=fields["path"],
        request=json.loads(fields["request"]),
        status=int(fields["status"]),
        content_type=fields["content-type"],
        body=body,
        source=source,
        captured=how == "captured",
    )
