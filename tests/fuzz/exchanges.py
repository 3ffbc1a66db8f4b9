"""Plays mutated recordings to whole runs, over raw sockets, for so many minutes.

Records of an answer are dropped, doubled, put in another order or between those of another answer; their fields are
taken away, doubled, moved and given other types; bodies are cut at any byte and their chunks split at any. However it
is, each job ends as a result, as an error line or pending, the code says which, nothing is asked more often than
`--retries` allows, no traceback is shown and no key comes out. The same seed makes the same exchanges.
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # so that it runs as a script, as `make fuzz` does

from fuzz.hunt import KEY, called, hunt, shown_or_leaked
from support import wirefiles
from support.commandline import Desk
from support.wildserver import MODEL, wild_server

from batcher.wire.dialects import DIALECTS

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from fuzz.hunt import Found
    from support.wirefiles import WireFile

JOBS: Final = ("a", "b", "c")
RETRIES: Final = 1
SPARE: Final = 2
"""Requests beyond the retries: one more where a server refuses a form that can be left out, for each such form."""
VALUES: Final[tuple[Any, ...]] = (
    *(None, "", "x", 0, 1, -1, 1.5, 10**18, True, False, [], {}, [{}], [[]], {"": None}, "\0", "9" * 400, KEY),
    *({"message": "no"}, {"error": {"message": KEY, "code": 401}}, [None], ["x", 1], {"content": "y"}, "stop", "error"),
)
Parts = list[dict[str, Any]]


class Exchanges:
    """Draws answers by its own random numbers: the same seed, the same answers."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._wires = [wire for name in wirefiles.names() if (wire := wirefiles.load(name)).path in DIALECTS]

    def draw(self) -> tuple[WireFile, list[Parts]]:
        """A recording, and what a server makes of it, request by request; the last one again and again."""
        rng = self._rng
        wire = rng.choice(self._wires)
        hostile = [self._parts(wire, self._body(wire), is_hostile=True) for _ in range(rng.choice((1, 1, 2, 3)))]
        honest = self._parts(wire, wire.body, is_hostile=False)
        return wire, [*hostile, honest] if rng.random() < 0.5 else hostile

    def _body(self, wire: WireFile) -> bytes:
        rng = self._rng
        lines = wire.body.split(b"\n")
        for _ in range(rng.choice((1, 1, 2, 4))):
            places = [place for place, line in enumerate(lines) if b"{" in line]
            how = rng.randrange(8)
            if not places or how == 0:
                body = b"\n".join(lines)
                cut = rng.randint(0, len(body))
                lines = (body[:cut] if rng.random() < 0.7 else body[cut:]).split(b"\n")
                continue
            place, other = rng.choice(places), rng.choice(places)
            if how == 1:
                del lines[place]
            elif how == 2:
                lines.insert(other, lines[place])
            elif how == 3:
                lines[place], lines[other] = lines[other], lines[place]
            elif how == 4:
                strangers = rng.choice(self._wires).body.split(b"\n")
                lines[place:place] = rng.sample(strangers, min(len(strangers), rng.choice((1, 3))))
            else:
                lines[place] = self._record(lines[place])
        return b"\n".join(lines)

    def _record(self, line: bytes) -> bytes:
        """A line with fields of its record taken away, doubled, moved, or of another type."""
        rng = self._rng
        start = line.index(b"{")
        try:
            record = json.loads(line[start:])
        except ValueError:
            return line
        for _ in range(rng.choice((1, 1, 2, 3))):
            inner, other = rng.choice([*_containers(record)]), rng.choice([*_containers(record)])
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            if not keys:
                continue
            key, how = rng.choice(keys), rng.randrange(5)
            if how == 0:
                del inner[key]
            elif how == 1 and isinstance(other, dict) and isinstance(key, str):
                other[key] = json.loads(json.dumps(inner[key]))
            elif how == 2 and isinstance(inner, dict):
                items = list(inner.items())
                rng.shuffle(items)
                inner.clear()
                inner.update(items)
            elif how == 3 and isinstance(inner, list):
                inner.insert(rng.randint(0, len(inner)), json.loads(json.dumps(inner[key])))
            else:
                inner[key] = json.loads(json.dumps(rng.choice(VALUES)))
        dumped = json.dumps(record, ensure_ascii=rng.random() < 0.5).encode(errors="surrogatepass")
        if rng.random() < 0.1:  # a key that is there twice, which no dict can say
            dumped = dumped[:-1] + b"," + dumped[1:]
        return line[:start] + dumped

    def _parts(self, wire: WireFile, body: bytes, *, is_hostile: bool) -> Parts:
        """The answer as bytes on the wire, in pieces that are no chunks, in chunks that are no records."""
        rng = self._rng
        status = (
            wire.status
            if not is_hostile or rng.random() < 0.9
            else rng.choice((200, 204, 301, 400, 401, 404, 429, 500, 503))
        )
        kind = (
            wire.content_type
            if not is_hostile or rng.random() < 0.8
            else rng.choice(("", "text/html", "application/json", "text/event-stream"))
        )
        head = [f"HTTP/1.1 {status} X", *([f"Content-Type: {kind}"] if kind else [])]
        if rng.random() < 0.6:
            head.append("Transfer-Encoding: chunked")
            framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in self._pieces(body)) + b"0\r\n\r\n"
        else:
            head.append(f"Content-Length: {len(body)}")
            framed = body
        data = "\r\n".join(head).encode() + b"\r\n\r\n" + framed
        ending: Parts = []
        if is_hostile and rng.random() < 0.3:
            data = data[: rng.randint(0, len(data))]
            ending = [{"then": rng.choice(("close", "reset"))}]
        return [{"bytes": piece.decode("latin-1")} for piece in self._pieces(data)] + ending

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        rng = self._rng
        many = rng.choice((0, 1, 3, 20))
        cuts = sorted({0, len(data), *(rng.randint(0, len(data)) for _ in range(many))})
        return (data[begin:end] for begin, end in pairwise(cuts) if end > begin)


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _containers(inner)


def wrong(desk: Desk, wire: WireFile, answers: list[Parts]) -> Found:
    """What of a run came otherwise than it must."""
    field = "input" if "embed" in wire.path else "prompt"
    desk.write("jobs.jsonl", *({"id": name, field: f"text {name}"} for name in JOBS))
    streamed = wire.body.count(b"\n") > 3 or '"stream": true' in json.dumps(wire.request)
    api = "v1" if wire.path.startswith("/v1") else "native"
    with wild_server(answers, api) as server:
        found, ran = called(
            desk,
            *("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", server.url, "-m", MODEL, "-c", "1"),
            *("--endpoint", wire.path, "--retries", str(RETRIES), "--max-wait", "0.2s", "--api-key-env", "KEY"),
            *(
                "--first-token-timeout",
                "0.5s",
                "--idle-timeout",
                "0.5s",
                "--timeout",
                "1s",
                "--pack",
                "1",
                "--allow-insecure",
            ),
            "--stream" if streamed else "--no-stream",
        )
    if found or ran is None:
        return found, 1
    if found := shown_or_leaked(desk, ran):
        return found, ran.code
    try:
        done, failed = desk.ids(), desk.ids("results.errors.jsonl")
    except Exception as error:  # noqa: BLE001 - a line that is none by the schema
        return f"a line that is none: {error}"[:300], ran.code
    if len({*done, *failed}) != len(done) + len(failed) or not {*done, *failed} <= {*JOBS}:
        return f"done {done}, failed {failed}", ran.code
    if (ran.code == 0 and done != [*JOBS]) or (ran.code == 3 and len(done) + len(failed) != len(JOBS)):
        return f"ended with {ran.code}: done {done}, failed {failed}", ran.code
    starts = [answer[0].get("bytes", "")[9:12] for answer in answers if answer]
    is_served = all(start < "429" for start in starts)  # others are waited for as long as `--max-wait` says
    if is_served and ran.code not in (4, 69) and len(server.posts) > len(JOBS) * (1 + RETRIES) + SPARE:
        return f"{len(server.posts)} requests for {len(JOBS)} jobs", ran.code
    return "", ran.code


def _player(rng: random.Random, _: Path) -> Callable[[Path], tuple[Found, str]]:
    exchanges = Exchanges(rng)

    def play(place: Path) -> tuple[Found, str]:
        place.mkdir()
        wire, answers = exchanges.draw()
        return wrong(Desk(place), wire, answers), f"{wire.name}: {json.dumps(answers)[:3000]}"

    return play


if __name__ == "__main__":
    sys.exit(hunt(__doc__ or "", f"runs of {len(JOBS)} jobs", _player))
