"""What can be set on a simulator: a field each, with its reader and its words; both command lines are made of them."""

from __future__ import annotations

import math
import re
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal

from batcher.simulator.behaviours import named_fault, parse
from batcher.simulator.notation import HINTS
from batcher.simulator.texts import DEFAULT_DIMS, DEFAULT_TOKENS

if TYPE_CHECKING:
    from collections.abc import Mapping

Look = Literal["native", "openai"]
_UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_THOUSANDS = {"": 1.0, "k": 1e3, "m": 1e6}


def seconds(text: str) -> float:
    """Read `30s`, `5m`, `1h`, `250ms`, or plain seconds. Raises `ValueError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(|ms|s|m|h)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration; write it as 250ms, 30s or 5m")
    return float(match[1]) * _UNITS[match[2]]


def number(text: str) -> float:
    """Read a number of 0 or more, also as `30k` or `2m` (millions). Raises `ValueError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([km]?)", text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is no number of 0 or more; write it as 500, 30k or 2m")
    return float(match[1]) * _THOUSANDS[match[2]]


def whole(text: str) -> int:
    """Read a count of 1 or more. Raises `ValueError`."""
    if not text.isdecimal() or not int(text):
        raise ValueError(f"{text!r} is no count; it is 1, 2, 3 …")
    return int(text)


def share(text: str) -> float:
    """Read `2%` or `0.02` as 0.02. Raises `ValueError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", text.strip())
    found = math.inf if match is None else float(match[1]) / (100 if match[2] else 1)
    if found > 1:
        raise ValueError(f"{text!r} is no share of requests; write it as 2% or 0.02")
    return found


def fault_share(text: str) -> tuple[str, float]:
    """Read `503=50%` or `reset=1%`. Raises `ValueError`."""
    name, equals, how_many = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} names no share; write it as 503=50% or reset=1%")
    named_fault(name)
    return name, share(how_many)


def directive(text: str) -> str:
    """What may stand in a directive. Raises `ValueError`."""
    parse(text)
    return text


def _of(default: Any, read: Any, words: str, *, flag: str = "", unit: str = "") -> Any:
    return field(default=default, metadata={"read": read, "words": words, "flag": flag, "unit": unit})


def _switch(words: str) -> Any:
    return field(default=False, metadata={"read": None, "words": words, "flag": "", "unit": ""})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a server is. Times in seconds, speeds in tokens a second; `None` means no limit, 0 no time or no fault."""

    port: int = _of(0, int, "The port; 0 takes a free one.", unit="PORT")
    look: Literal["native", "openai"] = _of(
        "native", ("native", "openai"), "An Ollama, or a server that has /v1 alone."
    )
    models: tuple[str, ...] = _of(("simulator",), str, "A model that is there. Repeatable.", flag="model", unit="NAME")
    key: str | None = _of(None, str, "HTTP 401 without this API key (no secret: the server is a fake).", unit="KEY")

    slots: int | None = _of(None, whole, "Requests in service at once, a model; the rest wait in silence.", unit="N")
    max_queue: int | None = _of(None, whole, "Requests that may wait; beyond them HTTP 503.", unit="N")
    load: float = _of(0.0, seconds, "How long it takes to load a model.", unit="TIME")
    unload: float = _of(0.0, seconds, "How long it takes until a model that goes has made room.", unit="TIME")
    max_loaded: int | None = _of(None, whole, "Models that stay loaded; more wait until one goes.", unit="N")
    keep_alive: float = _of(300.0, seconds, "An idle model stays loaded so long, if no request says.", unit="TIME")
    lag: float = _of(0.0, seconds, "A request is looked at up to so long after it came, by lot.", unit="TIME")
    context: int | None = _of(None, whole, "Tokens of a prompt that are read; more are cut, as on Ollama.", unit="N")

    speed: float | None = _of(None, number, "Tokens a second of one stream alone.", unit="N")
    total_speed: float | None = _of(None, number, "Tokens a second that all streams together approach.", unit="N")
    prompt_speed: float | None = _of(None, number, "Prompt tokens a second; prompts are read in turn.", unit="N")
    prompt_delay: float = _of(0.0, seconds, "Before the first token, beside the prompt.", unit="TIME")
    token_delay: float = _of(0.0, seconds, "Between tokens, where no speed is set.", unit="TIME")
    tokens: int = _of(DEFAULT_TOKENS, whole, "Tokens in an answer (their mean, with --sigma).", unit="N")
    sigma: float = _of(0.0, number, "Spread of the lengths: lognormal, this deviation of the logarithm.", unit="N")
    dims: int = _of(DEFAULT_DIMS, whole, "Numbers in an embedding.", unit="N")

    rpm: float | None = _of(None, number, "Requests in any 60 s, of a model; beyond them HTTP 429.", unit="N")
    tpm: float | None = _of(None, number, "Tokens in any 60 s, of prompts and answers.", unit="N")
    hint: str = _of("seconds", HINTS, "How a 429 says when to come back.")
    count_refused: bool = _switch("Requests that get a 429 count against --rpm too.")

    fail: float = _of(0.0, share, "How many requests meet a fault: one of those that pass, by lot.", unit="SHARE")
    faults: tuple[tuple[str, float], ...] = _of(
        (), fault_share, "How many meet this fault, or HTTP status. Repeatable.", flag="fault", unit="NAME=SHARE"
    )
    down_every: float = _of(
        0.0, seconds, "Go away so often, as in a restart: connections are reset, then refused.", unit="TIME"
    )
    down_for: float = _of(5.0, seconds, "And come back after so long, with no model loaded.", unit="TIME")
    freeze_every: float = _of(0.0, seconds, "Stand still so often, as if by SIGSTOP.", unit="TIME")
    freeze_for: float = _of(5.0, seconds, "And go on after so long.", unit="TIME")
    storm_every: float = _of(0.0, seconds, "Refuse all with HTTP 429 so often, and with --hint.", unit="TIME")
    storm_for: float = _of(5.0, seconds, "And take them again after so long.", unit="TIME")
    deaf: bool = _switch("Take connections and never read a request.")
    clock_off: float = _of(0.0, float, "Seconds by which the server's clock is wrong.", unit="SECONDS")

    default: str = _of("", directive, 'A directive for all prompts, as "do=reset times=1".', unit="TEXT")
    prose: bool = _switch("Answer in sentences instead of numbered words.")
    seed: int = _of(0, int, "Another seed: other lengths, sentences and faults.", unit="N")
    keep: int = _of(10_000, int, "Requests to remember.", unit="N")


DEFAULTS: Final = Settings()


def flag_of(setting: Field[Any]) -> str:
    """The option of a setting: `--down-every`."""
    name: str = setting.metadata["flag"] or setting.name
    return "--" + name.replace("_", "-")


def options() -> list[Field[Any]]:
    """The settings in their order, to make options of."""
    return list(fields(Settings))


def checked(given: Mapping[str, Any]) -> Settings:
    """Settings of what a command line gave (`None` or `()`: nothing). Raises `ValueError` on contradictions."""
    chosen = {name: value for name, value in given.items() if value is not None and value != ()}
    for name in ("models", "faults"):
        if name in chosen:
            chosen[name] = tuple(chosen[name])
    made = Settings(**chosen)
    if sum(chance for _, chance in made.faults) + made.fail > 1:
        raise ValueError("the shares of all faults come to more than 100%")
    for name in ("down", "freeze", "storm"):
        every, lasting = getattr(made, f"{name}_every"), getattr(made, f"{name}_for")
        if every and lasting >= every:
            raise ValueError(f"--{name}-every must be longer than --{name}-for")
    return made
