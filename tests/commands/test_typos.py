"""What is misspelt is told with the nearest name: variables, parameters, options, aliases, flags, commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.commandline import prompts

from batcher.commands.conversion import options_from
from batcher.commands.typos import unknown_options, unknown_parameters, unknown_variables
from batcher.failures import UsageError
from batcher.inputs.formats.defaults import Defaults
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from support.commandline import Desk


def test_names_that_nothing_reads() -> None:
    """With what may have been meant; what is right is no matter for words."""
    assert unknown_variables(["BATCHER_CONCURENCY"], {"BATCHER_CONCURRENCY"}) == [
        "the variable BATCHER_CONCURENCY is not used: no option has it; did you mean 'BATCHER_CONCURRENCY'?"
    ]
    assert unknown_parameters({"temprature": 0, "max_tokens": 5, "num_predict": 1, "chat_template_kwargs": {}}) == [
        "--param temprature is none that batcher knows, and is sent as it is; did you mean 'temperature'?",
        "--param chat_template_kwargs is none that batcher knows, and is sent as it is",
    ]
    assert unknown_options({"num_ctxx": 1, "num_ctx": 2}) == [
        "--option num_ctxx is none of Ollama's, which ignores what it does not know; did you mean 'num_ctx'?"
    ]


def test_aliases_of_models_that_nobody_asks_for() -> None:
    """Once lines were read; the alias for all, and names with or without their tag, are right."""
    defaults = Defaults(
        model="llama3.2", aliases={"gpt-4": "a", "lama3.2": "b", "*": "c", "qwen": "d", "phi:latest": "e"}
    )
    assert defaults.unused_aliases() == []
    for name in ("gpt-4", None, "qwen:latest", "phi"):
        defaults.resolve(name)
    assert defaults.unused_aliases() == ["--alias lama3.2: no line asks for that model; did you mean 'llama3.2'?"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"fail_on": ("lenght",)}, "--fail-on does not know lenght; did you mean 'length'?"),
        ({"idle_timeout": 0.0}, "--idle-timeout must be longer than 0 s"),
        ({"local": True, "base_url": ("http://x",)}, "--local starts a server and --base-url names one: say one"),
        ({"sample": 5, "estimate": 5}, "--sample and --estimate both draw rows: say one of the two"),
        ({"max_cost": 1.0}, "--max-cost needs prices: say --price-in and --price-out, or --price-file"),
        ({"json": True, "schema": "{}"}, "--schema says what the JSON is to be, and --json that it may be any"),
    ],
)
def test_options_are_called_as_they_are_typed(values: dict[str, object], words: str) -> None:
    """No internal name reaches a user of the command."""
    with pytest.raises(UsageError) as caught:
        options_from(values)
    assert str(caught.value).startswith(words)


@pytest.mark.slow
def test_told_by_a_run(desk: Desk) -> None:
    """On stderr, and the run goes on: a server may know what batcher does not."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    with simulator_thread() as sim:
        args = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator", "--base-url", sim.url)
        more = ("--param", "temprature=0", "--alias", "simulater=x")
        ran = desk.run(*args, *more, env={"BATCHER_RETRYS": "1"})
    assert ran.code == 0
    for name in ("'temperature'", "'BATCHER_RETRIES'", "'simulator'"):
        assert f"did you mean {name}?" in ran.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("rn", "jobs.jsonl"), "there is no command 'rn'; did you mean 'run'? See batcher --help"),
        (("jobs.jsonl", "-m", "x"), "'jobs.jsonl' is no command; did you mean: batcher run jobs.jsonl -m x; see"),
        (("-",), "'-' is no command; did you mean: batcher run -; see"),
        (("frobnicate",), "there is no command 'frobnicate'; see batcher --help"),
        (("run",), "Missing argument 'INPUT...'; see batcher run --help"),
    ],
)
def test_commands(desk: Desk, args: tuple[str, ...], words: str) -> None:
    """Who names a file first means to run it."""
    desk.write("jobs.jsonl", *prompts(["a"]))
    ran = desk.call(*args)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"batcher: {words}")
