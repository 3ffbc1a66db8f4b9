"""Parameters of a line: their common names, their common form, and wrong values."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from support.job_lines import job_of, tried

from batcher.failures import LineError
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.formats.parameters import PARAMETERS, split_parameters


def test_parameters_go_by_common_names() -> None:
    """Other APIs' names mean the same, values are brought into one form, and the line wins over the run."""
    defaults = Defaults(
        params={"seed": 1, "top_p": 0.5, "keep_alive": "5m"}, options={"num_ctx": 1, "a": 1}, extra={"x": 1}
    )
    job = job_of(
        prompt="hi",
        max_completion_tokens=9,
        stop="END",
        seed=2,
        top_p=None,
        reasoning_effort="none",
        response_format={"type": "json_object"},
        options={"num_ctx": 2},
        params={"y": 2},
        stream=True,
        defaults=defaults,
    )
    assert job.params == {
        "seed": 2,
        "keep_alive": "5m",
        "max_completion_tokens": 9,
        "stop": ["END"],
        "think": False,
        "format": "json",
    }
    assert (job.options, job.extra) == ({"num_ctx": 2, "a": 1}, {"x": 1, "y": 2})
    assert defaults.params == {"seed": 1, "top_p": 0.5, "keep_alive": "5m"}
    assert not defaults.unknown_keys


SCHEMA = {"type": "object", "properties": {}}


STRICT = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}}


@pytest.mark.parametrize("key", ["format", "response_format"])
@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("json", "json"),
        (SCHEMA, SCHEMA),
        ({"type": "json_object"}, "json"),
        ({"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}}, STRICT),
        ({"type": "json_schema", "name": "n", "strict": True, "schema": SCHEMA}, STRICT),
        ({"type": "json_schema", "name": "n", "schema": SCHEMA}, SCHEMA),
        ({"type": "text"}, None),
        ("", None),
        (None, None),
    ],
)
def test_format(key: str, value: Any, wanted: Any) -> None:
    """Both APIs' ways to ask for JSON come to one; plain text takes the run's format away; `strict` is not lost."""
    job = job_of(prompt="hi", **{key: value}, defaults=Defaults(params={"format": "json"}))
    assert job.params.get("format") == wanted


GOOD_VALUES: dict[str, Any] = {
    "max_tokens": 5, "max_completion_tokens": 5, "temperature": 0, "top_p": 0.5, "top_k": 4, "min_p": 0.1, "seed": -1,
    "stop": ["a"], "frequency_penalty": 1, "presence_penalty": 1.5, "repeat_penalty": 1.1, "format": "json",
    "think": "high", "logprobs": True, "top_logprobs": 2, "n": 2, "tool_choice": {"type": "function"},
    "parallel_tool_calls": False,
    "dimensions": 64, "encoding_format": "base64", "keep_alive": -1, "raw": True, "suffix": "x", "truncate": False,
    "size": "256x256", "user": "u",
}  # fmt: skip


def test_every_parameter_takes_its_values() -> None:
    """Each common parameter passes a good value on unchanged."""
    assert set(GOOD_VALUES) == {parameter.name for parameter in PARAMETERS.values()}
    for name, value in GOOD_VALUES.items():
        assert job_of(prompt="hi", **{name: value}).params == {name: value}


@pytest.mark.parametrize("run", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("line", ["max_tokens", "max_completion_tokens"])
def test_a_limit_has_two_names_and_one_value(run: str, line: str) -> None:
    """OpenAI's reasoning models refuse `max_tokens`: the limit goes out by the name last used, and by that alone."""
    defaults = Defaults(params={run: 9})
    assert job_of(prompt="hi", **{line: 5}, defaults=defaults).params == {line: 5}
    assert job_of(prompt="hi", **{line: None}, defaults=defaults).params == {}
    assert split_parameters({run: 9, line: 5}) == ({line: 5}, {})


def test_the_runs_keep_alive() -> None:
    """Every line carries it, unless it says something else, or says null to have none."""
    defaults = Defaults(keep_alive="30m")
    assert job_of(prompt="hi", defaults=defaults).keep_alive == "30m"
    assert job_of(url="/api/chat", body={"messages": [{"role": "user", "content": "x"}]}, defaults=defaults).keep_alive
    assert job_of(prompt="hi", keep_alive=None, defaults=defaults).keep_alive == ""
    own = job_of(prompt="hi", keep_alive="5m", defaults=defaults)
    assert own.params == {"keep_alive": "5m"}
    assert own.hash == job_of(prompt="hi").hash


BOOLEANS = {"think", "logprobs", "parallel_tool_calls", "raw", "truncate"}


@pytest.mark.parametrize("key", PARAMETERS)
@pytest.mark.parametrize("value", [[1], {}, 1.5, True, "five"])
def test_wrong_values_are_named(key: str, value: Any) -> None:
    """A parameter takes a value or refuses it by its own name; a boolean never passes for a number."""
    outcome = tried(orjson.dumps({"id": "a", "prompt": "hi", key: value}))
    if isinstance(outcome, LineError):
        assert (outcome.code, outcome.id) == ("input_invalid", "a")
        assert f'"{key}' in outcome.message
    else:
        assert value != [1]
        assert type(value) is not bool or PARAMETERS[key].name in BOOLEANS


def test_split_parameters() -> None:
    """What a run sets by name is split into common parameters, in common form, and the rest."""
    assert split_parameters({"num_predict": 5, "stop": "a", "best_of": 2}) == (
        {"max_tokens": 5, "stop": ["a"]},
        {"best_of": 2},
    )
    with pytest.raises(LineError, match="seed"):
        split_parameters({"seed": "x"})


@pytest.mark.parametrize(("value", "wanted"), [({"effort": "none"}, False), ({"effort": "low"}, "low"), (None, None)])
def test_reasoning(value: Any, wanted: Any) -> None:
    """OpenAI's nested way to say how much to think means the same as the flat one."""
    assert job_of(prompt="hi", reasoning=value).params.get("think") == wanted
