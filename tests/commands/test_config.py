"""Holds the config file to its promises: every option a key, all mistakes named, and what stands above it."""

from __future__ import annotations

import signal
from pathlib import Path

import click
import pytest
from support.commandline import PROJECT
from support.configfile import Settings

from batcher.cli import COMMANDS, Commands
from batcher.commands import check, run
from batcher.commands.config import NOT_HERE
from batcher.commands.conversion import options_from
from batcher.commands.options import environ_of
from batcher.commands.values import Parsed
from batcher.failures import ConfigError, Exit
from batcher.figures import Concurrency, MaxErrors
from batcher.model import Api


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return Settings(tmp_path, monkeypatch)


SPECIAL = {"fail_on": '["length"]', "local": '"a.gguf"', "ca_file": f'"{__file__}"', "shard": '"2/8"'}
"""Options that take no value but of their own kind, and one of these as TOML."""


def _example(param: click.Parameter) -> str:
    """Some value of the right kind, as TOML."""
    if isinstance(param.type, click.types.BoolParamType):
        return "true"
    if isinstance(param.type, click.types.IntParamType):
        return "3"
    if isinstance(param.type, click.Choice):
        return f'"{param.type.choices[-1]}"'
    if param.type.name == "key=value":
        return '{ a = "b" }'
    if param.name in SPECIAL:
        return SPECIAL[param.name]
    if isinstance(param.type, Parsed):
        return '"20"'
    if isinstance(param.type, click.types.FloatParamType):
        return "0.5"
    return '"5s"' if param.type.name == "duration" else '"a"'


@pytest.mark.parametrize("param", [param for param in run.command.params if param.name not in NOT_HERE], ids=str)
def test_every_option_is_a_key(settings: Settings, param: click.Parameter) -> None:
    """Whatever `batcher run --help` lists can stand in the file, with - or with _, and arrives as from a flag."""
    names = {param.name, *(name.removeprefix("--") for name in param.opts if name.startswith("--"))}
    (settings.path / "a").write_text("")
    for key in {spelling for name in names for spelling in (name, name.replace("-", "_"), name.replace("_", "-"))}:
        config = settings.config(f"{key} = {_example(param)}")
        context = run.command.make_context("run", ["--config", str(config)] + ["in"] * (param.name != "input"))
        if param.expose_value:
            assert context.params[param.name] not in (None, (), False), key
            assert context.get_parameter_source(param.name) is click.core.ParameterSource.DEFAULT_MAP


def test_values_arrive_as_from_flags(settings: Settings) -> None:
    """A file that says what flags say makes the same options."""
    text = """
        model = "m"
        base-url = ["http://127.0.0.1:1", "http://127.0.0.1:2"]
        concurrency = 7
        rpm = 500
        tpm = "30k"
        max-errors = "5%"
        min-speed = 1
        runaway = "keep"
        keep-alive = "-1"
        max_wait = "1h30m"
        idle-timeout = 2.5
        stream = false
        fail-on = ["length,empty", "invalid_json"]
        dialect = "openai"
        [param]
        temperature = 0
        stop = ["a", "b"]
        [option]
        num_ctx = 8192
        [alias]
        "gpt-3.5-turbo" = "llama3.2"
        [header-env]
        X-Key = "MY_KEY"
    """
    flags = (
        *("-m", "m", "--base-url", "http://127.0.0.1:1", "--base-url", "http://127.0.0.1:2"),
        *("--rpm", "500", "--tpm", "30k", "--max-errors", "5%", "--min-speed", "1", "--keep-alive", "-1", "-c", "7"),
        *("--max-wait", "90m", "--idle-timeout", "2.5s", "--runaway", "keep"),
        *("--no-stream", "--fail-on", "length,empty", "--fail-on", "invalid_json", "--dialect", "openai"),
        *("--param", "temperature=0", "--param", 'stop=["a","b"]', "--option", "num_ctx=8192"),
        *("--alias", "gpt-3.5-turbo=llama3.2", "--header-env", "X-Key=MY_KEY"),
    )
    found = settings.options(text)
    assert found == settings.options("", *flags)
    assert (found.concurrency, found.max_wait, found.stream, found.dialect) == (
        Concurrency(7, 7),
        5400.0,
        False,
        Api.OPENAI,
    )
    assert (found.rpm, found.tpm, found.max_errors) == (500.0, 30_000.0, MaxErrors(5, of_all=True))
    assert found.base_url == ("http://127.0.0.1:1", "http://127.0.0.1:2")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('modle = "m"', "no option is called 'modle'; did you mean 'model'?"),
        ('max_wiat = "1h"', "no option is called 'max_wiat'; did you mean 'max-wait'?"),
        ("no-stream = true", "write stream = false"),
        ("xyzzy = 1", "no option is called 'xyzzy'"),
        ('config = "other.toml"', "no option is called 'config'"),
        ("[server]\nx = 1", "no option is called 'server'"),
        ('api-key = "sk-canary"', "api-key is refused"),
        ('api_key = "sk-canary"', "api_key is refused"),
        ('OPENAI_API_KEY = "sk-canary"', "OPENAI_API_KEY is refused"),
        ('token = "sk-canary"', "token is refused"),
        ('concurrency = "sk-canary"', "concurrency: must be auto, a number such as 8, or a range such as 2-16"),
        ("concurrency = true", "concurrency wants a text or a number, not true or false"),
        ("concurrency = 1.5", "concurrency: must be auto, a number"),
        ("concurrency = 0", "concurrency: must be at least 1, not 0"),
        ('rpm = "sk-canary"', "rpm: must be an amount such as 500, 30k or 2m"),
        ('max-errors = "sk-canary"', "max-errors: must be a number of jobs such as 20, or a share of them such as 5%"),
        ("min-speed = 'fast'", "min-speed wants a number, not a text"),
        ("base-url = 5", "base-url wants a text or a list of texts, not a number"),
        ('retries = "sk-canary"', "retries wants a whole number, not a text"),
        ("model = 5", "model wants a text or a list of texts, not a number"),
        ("model = [5]", "model wants a text or a list of texts, not a list"),
        ("stream = 'no'", "stream wants true or false, not a text"),
        ("quiet = 1", "quiet wants true or false, not a number"),
        ("max-wait = 'soon'", "max-wait: 'soon' is no duration"),
        ("max-wait = true", "max-wait wants a duration such as 30s, or seconds, not true or false"),
        ("dialect = 'grpc'", "dialect: 'grpc' is not one of"),
        ("local = 1", "local wants true or a file's name, not a number"),
        ("fail-on = [1]", "fail-on wants a text or a list of texts, not a list"),
        ("param = 'a=1'", "param wants a table of plain values, not a text"),
        ("[param]\nx = 2026-11-23", "param wants a table of plain values, not this table"),
        ("[param]\nx = [nan]", "param wants a table of plain values"),
        ("[alias]\nx = 1", "alias wants a table of texts, not this table"),
        ("[alias]\n[aliases]", "aliases stands there twice"),
        ("max-wait = 1\nmax_wait = 2", "max_wait stands there twice"),
        ("ca-file = 'none.pem'", "none.pem' does not exist"),
        ("model = ", "is no TOML"),
        ("model = 'a'\nmodel = 'b'", "is no TOML"),
    ],
)
def test_mistakes_name_file_and_key(settings: Settings, text: str, words: str) -> None:
    """78 before anything is done; the message says where and what is wanted, and repeats no secret."""
    with pytest.raises(ConfigError) as caught:
        settings.context(text)
    assert caught.value.exit is Exit.CONFIG
    assert str(settings.path / "nightly.toml") in str(caught.value)
    assert words in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"model = '\xff'"])
def test_a_file_that_cannot_be_read_is_said_so(settings: Settings, content: bytes | None) -> None:
    """Missing, or no text: a configuration error, not a traceback."""
    path = settings.path / "other.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"--config: .*other\.toml"):
        run.command.make_context("run", ["in", "--config", str(path)])


def test_a_byte_order_mark_is_no_mistake(settings: Settings) -> None:
    """Editors on other systems write one."""
    assert settings.options('\ufeffmodel = "m"').model == "m"


def test_paths_start_at_the_file(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever directory the run was started in; - stays stdin and stdout, ~ is the home."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.setenv("HOME", "/home/ada")
    text = 'input = "-"\noutput = "../out.jsonl"\nerrors = "/abs/e.jsonl"\napi-key-file = "~/key"\nlocal = "m.gguf"'
    config = settings.config(text)
    params = run.command.make_context("run", ["--config", str(config)]).params
    assert params["input"] == "-"
    assert params["output"] == str(settings.path / "../out.jsonl")
    assert params["errors"] == Path("/abs/e.jsonl")
    assert params["api_key_file"] == Path("/home/ada/key")
    assert params["local"] == settings.path / "m.gguf"


def test_the_env_file_may_be_named_in_the_config(settings: Settings) -> None:
    """It counts as if it had been named on the command line, for the variables and for BATCHER_… alike."""
    (settings.path / "prod.env").write_text("MODEL=prod\nBATCHER_RETRIES=7\n")
    context = settings.context('env-file = "prod.env"\nmodel = "file"\nretries = 1')
    options = options_from(context.params)
    assert environ_of(context)["MODEL"] == "prod"
    assert (options.model, options.retries) == (None, 7)


def test_the_config_may_be_named_by_a_variable(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """BATCHER_CONFIG stands for --config, as for every option."""
    monkeypatch.setenv("BATCHER_CONFIG", str(settings.config('model = "m"')))
    assert options_from(run.command.make_context("run", ["in"]).params).model == "m"


def test_an_argument_beats_the_file(settings: Settings) -> None:
    """INPUT on the command line is taken before `input`; with neither it is missing (2)."""
    config = str(settings.config('input = "file.jsonl"'))
    assert run.command.make_context("run", ["arg.jsonl", "--config", config]).params["input"] == "arg.jsonl"
    assert run.command.make_context("run", ["--config", config]).params["input"] == str(settings.path / "file.jsonl")
    with pytest.raises(click.MissingParameter) as caught:
        run.command.make_context("run", [])
    assert "INPUT" in caught.value.format_message()


def test_other_commands_read_the_same_file(settings: Settings) -> None:
    """`batcher check --config` takes what it knows of a run's file, passes the rest by, and still names mistakes."""
    config = str(settings.config('input = "jobs.jsonl"\nmodel = "m"\nconcurrency = 3\noutput = "x"\njson = true'))
    params = check.command.make_context("check", ["--config", config], parent=click.Context(Commands())).params
    assert (params["input"], params["model"], params["as_json"]) == (str(settings.path / "jobs.jsonl"), "m", True)
    assert "concurrency" not in params
    config = str(settings.config('concurrency = "many"'))
    with pytest.raises(ConfigError, match="must be auto"):
        check.command.make_context("check", ["--config", config], parent=click.Context(Commands()))


def test_all_commands_with_a_server_take_a_config() -> None:
    """The option is among those that they share."""
    context = click.Context(Commands())
    for name in COMMANDS:
        command = Commands().get_command(context, name)
        assert command is not None
        names = {param.name for param in command.params}
        assert "config" in names or "base_url" not in names, name


def test_the_sample_is_a_whole_command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """jobs/nightly.toml names an input that is there, runs as it stands, and leaves Ollama's model out with --local."""
    monkeypatch.chdir(settings.path)
    before = signal.getsignal(signal.SIGUSR1)
    sample = PROJECT / "jobs/nightly.toml"
    params = run.command.make_context("run", ["--config", str(sample)]).params
    assert Path(params["input"]).is_file()
    options = options_from(params)
    assert options.model == "llama3.2"
    assert options.max_duration == 5 * 3600
    local = options_from(run.command.make_context("run", ["--config", str(sample), "--local"]).params)
    assert (local.local, local.model) == (True, None)
    assert signal.getsignal(signal.SIGUSR1) is before  # making options changes nothing in the process
