"""What functions of the library can be told: known options, in types that say so, and keys that nobody sees."""

from __future__ import annotations

import asyncio
import os
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.echoserver import echoing
from support.programs import all_of

import batcher
from batcher import options as options_module
from batcher.api import arguments
from batcher.api.arguments import Chosen, KeyOptions, RunOptions, StreamOptions, streamed
from batcher.failures import UsageError
from batcher.figures import AUTO, MaxErrors
from batcher.options import Options

if TYPE_CHECKING:
    from batcher.simulator import BackgroundSimulator

KEY = "canary-7f3Qz9wLm2xTt8"
SAMPLES: dict[str, Any] = {
    "None": None,
    "PathLike": "file",
    "Duration": "30s",
    "Concurrency": AUTO,
    "MaxErrors": MaxErrors(2),
}
"""Of each name in the types one that must be taken where it stands; plain types are looked at by themselves."""


def names_of(annotation: Any) -> list[str]:
    return str(annotation.__forward_arg__).split(" | ")


def test_the_types_are_those_of_options() -> None:
    """Each field of `Options` is a key, in the same order within its group, and there is no other but the keys."""
    written = dict(RunOptions.__annotations__)
    assert set(written) - set(KeyOptions.__annotations__) == {one.name for one in fields(Options)}
    assert set(StreamOptions.__annotations__) - set(KeyOptions.__annotations__) == {
        name
        for name in written
        if name not in {*arguments.NOT_STREAMED, "prompt", "schema", *KeyOptions.__annotations__}
    }


@pytest.mark.parametrize("one", fields(Options), ids=lambda one: one.name)
def test_a_type_takes_what_its_option_takes(one: Any) -> None:
    """Null only where it may be null, durations in their three forms, plain types as they are."""
    written = names_of(RunOptions.__annotations__[one.name])
    kind = str(one.type)
    assert ("None" in written) == kind.endswith(" | None")
    assert ("Duration" in written) == (one.name in options_module.DURATIONS)
    plain = kind.removesuffix(" | None")
    if plain in {"str", "int", "bool"} and not any("Literal" in part for part in written):
        assert plain in written
    for name in SAMPLES.keys() & set(written):
        Options.of({one.name: SAMPLES[name]})


@pytest.mark.parametrize("name", ["run", "arun", "map", "amap", "stream", "embed", "aembed"])
def test_the_functions_say_what_they_do(name: str) -> None:
    """`help` and editors show it; options are taken by name."""
    function = getattr(batcher, name)
    assert function.__doc__
    assert "Unpack" in function.__annotations__["options"]


@pytest.mark.parametrize("call", [batcher.stream, batcher.map])
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"modle": "m"}, "no option is called 'modle'; did you mean 'model'"),
        ({"schma": {}}, "did you mean 'schema'"),
        ({"api_kee": "x"}, "did you mean 'api_key'"),
        ({"concurency": 3}, "did you mean 'concurrency'"),
        ({"zzz": 3}, "no option is called 'zzz'$"),
    ],
)
def test_an_unknown_option_is_a_type_error(call: Any, values: dict[str, Any], words: str) -> None:
    """As of any function of Python's, and a usage error; it names the nearest."""
    with pytest.raises(TypeError, match=words):
        call(["Hi"], **values)
    with pytest.raises(UsageError, match=words):
        call(["Hi"], **values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ordered": True}, "ordered is about files, and stream keeps none: use run"),
        ({"errors": "x.jsonl"}, "errors is about files"),
        ({"overwrite": True}, "overwrite is about files"),
        ({"dedupe": True}, "use run"),
        ({"timeout": "soon"}, "timeout: 'soon' is no duration; write it as 30s"),
        ({"timeout": None}, "timeout must be seconds, or text such as 30s, not NoneType"),
        ({"retries": "many"}, "retries must be a whole number, not str"),
        ({"retries": 1.5}, "retries must be a whole number, not float"),
        ({"retries": True}, "retries must be a whole number, not bool"),
        ({"model": 5}, "model must be text, not int"),
        ({"stream": "no"}, "stream must be True or False, not str"),
        ({"params": [1]}, "params must be a mapping, not list"),
        ({"min_speed": KEY}, "min_speed must be a number, not str"),
        ({"api_key": 5}, "api_key must be text, not int"),
        ({"api_key": " "}, "api_key is empty"),
        ({"base_url": 5}, "base_url must be one or a list of several, not int"),
        ({"done_from": 5}, "done_from must be one or a list of several, not int"),
        ({"fail_on": "lenght"}, "fail_on does not know lenght"),
        ({"concurrency": None}, "concurrency must be auto, a number such as 8"),
        ({"api_key": KEY, "api_key_env": "X"}, "give one of them"),
        ({"headers": [1]}, "headers must be a mapping"),
        ({"progress": "yes"}, "progress is True, False or a function, not str"),
        ({"progress": asyncio.sleep}, "progress is called and not awaited"),
    ],
)
def test_wrong_values_are_told_at_once(values: dict[str, Any], words: str) -> None:
    """Before anything is asked, in words that repeat no key."""
    with pytest.raises(UsageError, match=words) as caught:
        batcher.stream(["Hi"], **values)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "seconds"), [("30s", 30.0), ("1h30m", 5400.0), (5, 5.0), (0.5, 0.5), (timedelta(minutes=1), 60.0)]
)
def test_durations_are_read_as_the_command_does(value: Any, seconds: float) -> None:
    """Seconds, text, or a timedelta."""
    chosen = streamed({"timeout": value, "max_duration": value}, "stream").options
    assert (chosen.timeout, chosen.max_duration) == (seconds, seconds)


def test_what_is_said_as_it_is_anyway_means_nothing() -> None:
    """A dictionary of settings that programs share may hold defaults about files."""
    assert streamed({"ordered": False, "errors": None}, "stream").options == Options()
    assert streamed({"local": Path("m.gguf")}, "stream").options.local == Path("m.gguf")


@pytest.mark.anyio
async def test_keys_and_headers_by_argument(monkeypatch: pytest.MonkeyPatch, sim: BackgroundSimulator) -> None:
    """They reach the server, win over the environment, and are shown nowhere."""
    monkeypatch.setenv("OPENAI_API_KEY", "of-the-environment")
    before = dict(os.environ)
    with echoing(400) as server:
        [result] = await all_of(
            ["Hi"], base_url=f"{server.url}/v1", api_key=KEY, headers={"X-Team": "canary-header-9x8y7z"}
        )
    assert result.failure is not None
    assert "***" in result.failure.message
    assert "canary" not in f"{result.failure.message}{result!r}{result.to_dict()}"
    chosen = Chosen.of({"api_key": KEY, "headers": {"X-Team": KEY}})
    assert KEY not in f"{chosen!r}{batcher.Client(api_key=KEY, headers={'X-Team': KEY})!r}"
    assert dict(os.environ) == before


@pytest.mark.anyio
async def test_a_key_by_argument_lets_in(sim: BackgroundSimulator) -> None:
    """The server that wants it answers."""
    from batcher.simulator import simulator_thread

    with simulator_thread(look="openai", key="right-key-123") as locked:
        [result] = await all_of(["Hi"], base_url=f"{locked.url}/v1", api_key="right-key-123", model="simulator")
        with pytest.raises(batcher.BatcherError, match="key") as caught:
            await all_of(["Hi"], base_url=f"{locked.url}/v1", api_key="wrong-key-123", model="simulator")
    assert result.ok
    assert caught.value.exit == 77
    assert sim.counts.total() == 0
