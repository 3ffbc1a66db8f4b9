"""How many requests each server is given: as told, as found out, and no more than there are files for."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any

import pytest

from batcher.failures import AttemptError, ConfigError, Failure, FailureClass
from batcher.figures import AUTO, Concurrency
from batcher.model import Api, Endpoint
from batcher.options import Options
from batcher.policy.limit.concurrency import AdaptiveLimit
from batcher.policy.limit.fixed import FixedLimit
from batcher.redaction import Redactor
from batcher.running.lanes import SPARE_FILES, concurrency_for, limit_for
from batcher.servers.contact import LOCAL_SLOTS, Contact, _slots
from batcher.servers.described import _told_slots
from batcher.wire.transport import Reply

if TYPE_CHECKING:
    from batcher.wire.transport import Transport

SOFT = 200


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """A system that allows 200 open files, and 400 to whoever asks; the limits that were asked for."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (SOFT, 2 * SOFT))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    return asked


def servers(number: int, transport: Any = None, slots: int | None = None) -> Contact:
    endpoints = tuple(Endpoint(root=f"https://host-{n}", api=Api.OPENAI) for n in range(number))
    made: Transport = transport
    return Contact(endpoints, made, Redactor([]), "--base-url", slots=slots)


@pytest.mark.parametrize(
    ("told", "number", "most", "files"),
    [
        ("8", 1, 8, None),
        ("300", 1, 300, 300 + SPARE_FILES),
        ("auto", 1, 256, 256 + SPARE_FILES),
        ("auto", 2, (400 - SPARE_FILES) // 2, 400),
        ("2-9999", 1, 400 - SPARE_FILES, 400),
    ],
)
def test_files_bound_what_is_found_out(
    raised: list[tuple[int, int]], told: str, number: int, most: int, files: int | None
) -> None:
    """The limit of open files is raised as far as needed; where that is not enough, less is found out."""
    assert concurrency_for(Options.of({"concurrency": told}), servers(number)).most == most
    assert raised == ([] if files is None else [(files, 400)])


@pytest.mark.parametrize(("told", "number"), [("400", 1), ("200", 2), ("390-500", 1)])
@pytest.mark.usefixtures("raised")
def test_what_was_asked_for_and_cannot_be_is_refused(told: str, number: int) -> None:
    """A number that the system does not allow is a setting to mend, and no reason to send less in silence."""
    with pytest.raises(ConfigError, match=r"open files and the system allows 400: lower -c or raise ulimit -n"):
        concurrency_for(Options.of({"concurrency": told}), servers(number))


@pytest.mark.parametrize(
    ("root", "api", "start"),
    [
        ("https://api.example.com", Api.OPENAI, 8),
        ("https://ollama.example.com", Api.NATIVE, 2),
        ("http://127.0.0.1:8000", Api.OPENAI, 2),
    ],
)
def test_where_finding_out_begins(root: str, api: Api, start: int) -> None:
    """Low where one slot is likely, higher where a crowd is served; a fixed number is just that."""
    endpoint = Endpoint(root=root, api=api)
    found = limit_for(AUTO, endpoint)
    assert isinstance(found, AdaptiveLimit)
    assert (found.allowed, found.most) == (start, 256)
    assert limit_for(Concurrency(3, 3), endpoint) == FixedLimit(3)
    assert limit_for(Concurrency(10, 20), endpoint).allowed == 10


@pytest.mark.parametrize(
    ("options", "slots", "concurrency"),
    [
        ({}, LOCAL_SLOTS, Concurrency(LOCAL_SLOTS, LOCAL_SLOTS)),
        ({"slots": 2}, 2, Concurrency(2, 2)),
        ({"concurrency": 6}, 6, Concurrency(6, 6)),
        ({"concurrency": 6, "slots": 2}, 2, Concurrency(6, 6)),
        ({"concurrency": "1-6"}, 6, Concurrency(1, 6)),
    ],
)
def test_the_local_server_is_given_what_it_has_slots_for(
    options: dict[str, Any], slots: int, concurrency: Concurrency
) -> None:
    """It is ours, so that nothing has to be found out, unless that is asked for."""
    made = Options.of(options)
    assert _slots(made) == slots
    assert concurrency_for(made, servers(1, slots=slots)) == concurrency


class Answering:
    """A transport whose server answers everything alike; None: nobody answers."""

    def __init__(self, reply: Reply | None) -> None:
        self.asked: list[str] = []
        self._reply = reply

    async def request(self, method: str, url: str, **_: Any) -> Reply:
        self.asked.append(f"{method} {url}")
        if self._reply is None:
            raise AttemptError(Failure(FailureClass.CONNECTION, "refused", "connection refused"))
        return self._reply


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("reply", "slots"),
    [
        (Reply(200, {}, b'{"total_slots":4,"model_path":"m.gguf"}'), 4),
        (Reply(200, {}, b'{"total_slots":0}'), None),
        (Reply(200, {}, b"[4]"), None),
        (Reply(200, {}, b"<html>"), None),
        (Reply(404, {}, b'{"total_slots":4}'), None),
        (None, None),
    ],
)
async def test_a_server_nearby_says_how_many_slots_it_has(reply: Reply | None, slots: int | None) -> None:
    """llama.cpp tells it at /props, and then there is nothing to find out; whatever else comes is no answer."""
    transport: Any = Answering(reply)
    endpoint = Endpoint(root="http://127.0.0.1:8080", api=Api.OPENAI)
    assert await _told_slots(Contact((endpoint,), transport, Redactor([]), "--base-url")) == slots
    assert transport.asked == ["GET http://127.0.0.1:8080/props"]


@pytest.mark.anyio
@pytest.mark.parametrize(("root", "api"), [("https://host", Api.OPENAI), ("http://127.0.0.1:11434", Api.NATIVE)])
async def test_no_other_server_is_asked_for_slots(root: str, api: Api) -> None:
    """A hosted one would wonder at the path, and Ollama has none."""
    transport: Any = Answering(None)
    assert await _told_slots(Contact((Endpoint(root=root, api=api),), transport, Redactor([]), "-")) is None
    assert transport.asked == []
