"""A config file to parse a command line with: its own directory, an env file, an environment without a server in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.commands import run
from batcher.commands.conversion import options_from

if TYPE_CHECKING:
    from pathlib import Path

    import click
    import pytest

    from batcher.options import Options

STANDING = ("MODEL", "LLM_ENDPOINT", "OPENAI_BASE_URL", "OLLAMA_HOST")


class Settings:
    """A config file, an env file and an environment of their own."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self._monkeypatch = monkeypatch
        for name in STANDING:
            monkeypatch.delenv(name, raising=False)

    def config(self, text: str) -> Path:
        path = self.path / "nightly.toml"
        path.write_text(text)
        return path

    def context(self, text: str, *args: str, env: dict[str, str] | None = None, env_file: str = "") -> click.Context:
        """Parse `batcher run jobs.jsonl --config … ARGS`."""
        for name, value in (env or {}).items():
            self._monkeypatch.setenv(name, value)
        words = ["--config", str(self.config(text)), *args]
        if env_file:
            (self.path / ".env").write_text(env_file)
            words += ["--env-file", str(self.path / ".env")]
        return run.command.make_context("run", ["jobs.jsonl", *words])

    def options(self, text: str, *args: str, env: dict[str, str] | None = None, env_file: str = "") -> Options:
        return options_from(self.context(text, *args, env=env, env_file=env_file).params)
