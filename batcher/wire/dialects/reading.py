"""One answer being read: bytes → records → deltas → a completion that is proven complete, or a failure."""

from __future__ import annotations

from operator import length_hint
from typing import TYPE_CHECKING, Final

import orjson

from batcher import codec
from batcher.failures import AttemptError, malformed, truncated
from batcher.model import END, Call, Json
from batcher.outcome import Completion
from batcher.wire.dialects import SKIMS
from batcher.wire.dialects.beginnings import BLANK, FIELD, JSON, is_events, is_whole
from batcher.wire.dialects.endings import choices_asked, settle_counts
from batcher.wire.dialects.halves import join_halves
from batcher.wire.dialects.strays import instead_of_a_record, is_utf8, mended, told
from batcher.wire.dialects.toolpieces import check_calls
from batcher.wire.dialects.weight import HEAVY, LONG, weighed
from batcher.wire.faults import error_in
from batcher.wire.framing import PIECE, EventStream, Lines, RecordTooLongError, holds_json
from batcher.wire.rules import classify_error, not_an_llm

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.failures import Failure
    from batcher.wire.dialects import Dialect, Skim

BODY_LIMIT: Final = 256 * 1024 * 1024
"""The largest answer that is taken in one piece, in bytes."""

PROVEN_AT_ONCE: Final = ("/api/", "/v1/responses")
"""Where the mark that proves an answer complete is the last that is said; elsewhere the usage may follow."""

MENDING: Final = "/v1/responses"
"""Where the last record holds the whole answer, so that a damaged one before it costs nothing."""

NUMEROUS: Final = frozenset({"/api/generate", "/api/embed", "/v1/embeddings"})
"""Where answers hold numbers by the thousand (contexts, vectors), none of them an integer beyond 64 bits."""

PINGS: Final = frozenset({"ping", "heartbeat", "keepalive", "keep-alive", "keep_alive"})
"""Events that carry nothing, whatever their data."""

CLOSING: Final = frozenset({"done", "end", "close", "complete", "finish", "eof"})
"""Events that say in a word that the stream ends; what proves an answer complete is in its records."""

FAILING: Final = frozenset({"error", "exception", "failed", "failure", "fatal"})
"""Events that are errors, whatever their data."""

MARKS = 1024
"""Bytes of nothing but byte order marks that are kept until an answer begins."""


class Reading:
    """Feed it chunks, then `close` it. `completion` holds what has arrived, also after a failure."""

    __slots__ = (
        "_call",
        "_dialect",
        "_framing",
        "_mended",
        "_pieces",
        "_size",
        "_skim",
        "_type",
        "_unread",
        "_whole",
        "complete",
        "completion",
        "done",
        "kept",
    )

    def __init__(self, call: Call, dialect: Dialect, content_type: str = "") -> None:
        self.completion = Completion()
        self.done = False
        """The terminal mark was read: nothing that follows matters."""
        self.complete = False
        """The answer is all there: what may follow are its counts and the terminal mark."""
        self.kept = 0
        """Bytes of long records, which may be held as they are."""
        self._call = call
        self._dialect = dialect
        self._skim: Skim | None = None
        self._type = content_type
        self._framing: Lines | EventStream | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._mended = False
        self._unread: Failure | None = None
        self._whole = False

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes; true if they brought content. Raises AttemptError on an error in the stream."""
        framing = self._framing
        if framing is None:
            return self._begin(chunk)
        try:
            if type(framing) is EventStream:
                usual = framing.usual(chunk)
                return self._events(framing.feed(chunk)) if usual is None else self._usual(usual)
            return self._records(framing.feed(chunk))  # type: ignore[arg-type]  # Lines yields bytes, and it is Lines
        except RecordTooLongError as error:
            raise AttemptError(malformed(str(error))) from None

    def close(self) -> Completion:
        """The body ended cleanly: return the completion. Raises AttemptError unless it is proven complete."""
        completion, framing = self.completion, self._framing
        if framing is None:
            self._take_whole()
        elif isinstance(framing, EventStream):
            self._take_rest(lambda: self._events(framing.close()))
        else:
            self._take_rest(lambda: self._records(framing.close()))
        usage = completion.usage
        if usage is not None and not usage.completion_tokens:
            settle_counts(completion, usage)
        if completion.whole is None and (missing := self._dialect.missing(completion, done=self.done)):
            raise AttemptError(truncated(missing))
        if self._unread is not None and not completion.tail.get("whole"):
            raise AttemptError(self._unread)
        if len(completion.choices) > 1:
            self._check_count()
        for choice in completion.choices.values():
            if choice.tool_calls:
                check_calls(choice)
        if self._mended:
            join_halves(completion)
        return completion

    @property
    def may_be_whole(self) -> bool:
        """Whether it is an answer in one piece that may be all there, though its end has not come."""
        return self._framing is None and bool(self._pieces) and self._pieces[-1].rstrip()[-1:] == b"}"

    def _take_rest(self, take: Callable[[], object]) -> None:
        """Take the last record, whose end is missing: one that was cut there costs nothing if all was said before."""
        try:
            take()
        except AttemptError as error:
            if error.failure.code != "malformed":
                raise
            if self.completion.proof is not None and not self.complete:
                raise AttemptError(truncated("the end of its last record")) from None

    def _check_count(self) -> None:
        """Raise AttemptError for choices that nobody asked for: the number of one was damaged."""
        count = len(self.completion.choices)
        if count > (most := choices_asked(self._call)):
            raise AttemptError(malformed(f"{count} choices where {most} were asked for"))

    def _begin(self, chunk: bytes) -> bool:
        """Hold bytes until the framing is known; an answer in one piece is held to its end."""
        if not self._size and chunk[:1] == b"{" and self._type.startswith(JSON):  # nearly every answer in one piece
            self._whole = True
        self._pieces.append(chunk)
        self._size += len(chunk) + PIECE
        if self._size > BODY_LIMIT:
            raise AttemptError(malformed(f"an answer that takes more than {BODY_LIMIT} bytes"))
        if self._whole:
            return False
        held = b"".join(self._pieces)
        head = held.lstrip(BLANK)
        if not head:
            # Else each of many is joined with all before it. A byte order mark may be cut in two.
            self._pieces = [held] if held.strip() and len(held) < MARKS else []
            return False
        if is_whole(head, self._type, self._call):
            # A shorter head than a field's name may yet turn out to be one: `da` becomes `data:`.
            self._whole = head.startswith((b"{", b"[", b"<")) or len(head) >= FIELD
            return False
        self._framing = EventStream() if is_events(head, self._type) else Lines()
        self._skim = SKIMS.get(self._call.path)
        self._pieces = []
        return self.feed(held)

    def _take_whole(self) -> None:
        body = b"".join(self._pieces)
        if body[:1] != b"{" and not body.strip():
            if self._call.stream:
                return
            raise AttemptError(malformed("an empty answer"))
        if len(body) > HEAVY:
            with weighed(body):
                record = self._parse(body)
        else:
            record = self._parse(body)
        if record is None and self._call.stream and body.lstrip(BLANK).startswith(b"{"):
            *lines, last = [line for line in body.split(b"\n") if line.strip()]
            self._records(lines)
            self._take_rest(lambda: self._records([last]))
            return
        if record is None and body.lstrip(BLANK).startswith(b"{"):
            raise AttemptError(truncated("the end of its JSON"))
        if not isinstance(record, dict):
            raise AttemptError(not_an_llm(body, self._type, self._call.path))
        self._check(record)
        self.completion.whole = record
        self._dialect.whole(record, self.completion, self._call)
        if record.get("done") is False and self._dialect.STREAMS and self._call.path.startswith("/api/"):
            raise AttemptError(truncated("`done: true`"))

    def _usual(self, records: list[bytes]) -> bool:
        is_last = records[-1] == b"[DONE]"
        if is_last:
            records.pop()
        content = self._records(records)
        if is_last:
            self.done = self.complete = True
        return content

    def _events(self, events: list[tuple[str, bytes]]) -> bool:
        """Take what the events carry; those that mean something by themselves end the records before them."""
        content = False
        records: list[bytes] = []
        for event, data in events:
            is_comment = data[:1] == b":" and not holds_json(data)
            if event not in FAILING and data and data != b"[DONE]" and not is_comment:
                if event not in PINGS and (event not in CLOSING or data[:1] == b"{"):
                    records.append(data)
                continue
            content |= self._records(records)
            records = []
            if self.done:
                break
            if event in FAILING:
                raise AttemptError(told(data, self._call.path))
            # else a ping: an empty event, or a comment that a gateway wraps as data
            self.done = self.complete = data == b"[DONE]"
        return self._records(records) or content

    def _records(self, records: list[bytes]) -> bool:
        """Decode records in order, up to the terminal mark."""
        if self.done:
            return False
        if records and len(records[0]) > HEAVY:  # the only one that can be so long: the others came in one chunk
            with weighed(records[0]):
                return self._decoded(records)
        return self._decoded(records)

    def _decoded(self, records: list[bytes]) -> bool:
        left = iter(records)
        decoded = map(orjson.loads, left)
        skim, completion, content, place = self._skim, self.completion, False, 0
        while not self.done:
            try:
                record = skim(decoded, completion) if skim is not None else next(decoded, END)
            except orjson.JSONDecodeError:
                record = self._mend(records[len(records) - length_hint(left) - 1])
            before, place = place, len(records) - length_hint(left)
            if record is END:
                return content or place > before
            content = content or place > before + 1
            content = self._record(records[place - 1], record) or content
        return content

    def _record(self, data: bytes, record: Json) -> bool:
        """Take one record of any shape."""
        if type(record) is not dict:
            self._take_unreadable(data, record)
            return False
        if self._call.path not in NUMEROUS and codec.has_long_integer(data):
            record = self._parse(data)
        self._check(record)
        if len(data) > LONG:
            self.kept += len(data)
        content = self._dialect.decode(record, self.completion)
        if len(self.completion.choices) > 1:
            self._check_count()
        if self.completion.proof is not None:
            self.done = self._call.path.startswith(PROVEN_AT_ONCE)
            self.complete = self.done or len(self.completion.choices) >= choices_asked(self._call)
        else:
            self.complete = False
        return content

    def _check(self, record: dict[str, Json]) -> None:
        """Raise AttemptError if the record is an error: that wins over any terminal mark."""
        error = error_in(record)
        if error is not None:
            raise AttemptError(classify_error(error, self._call.path))

    def _take_unreadable(self, data: bytes, value: Json) -> None:
        """Raise AttemptError for what is no record, unless it says nothing, or the last record will say it all."""
        failure = instead_of_a_record(data, value, self._call.path)
        if failure is None:
            return
        if failure.code != "malformed" or self._call.path != MENDING:
            raise AttemptError(failure)
        self._unread = self._unread or failure

    def _parse(self, data: bytes) -> Json:
        """The JSON value, None if there is none; one that had to be mended is remembered."""
        try:
            return orjson.loads(data) if self._call.path in NUMEROUS else codec.loads(data)
        except orjson.JSONDecodeError:
            return self._mend(data)

    def _mend(self, data: bytes) -> Json:
        record = mended(data)
        if record is not None:
            self._mended = True
            if not is_utf8(data):
                self.completion.flag("utf8_replaced")
        return record
