"""What click gives of a command becomes `Options`, and what is wrong with them is said in the words of the command."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from batcher.failures import UsageError
from batcher.model import Api
from batcher.options import Options

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def options_from(values: Mapping[str, Any]) -> Options:
    """Make typed options of what click gives. Raises UsageError."""
    if isinstance(values.get("model"), tuple):
        raise UsageError("several models (-m) go with run and check, and here with one at a time")
    known = {f.name for f in fields(Options)}
    chosen = {name: value for name, value in values.items() if name in known and value is not None}
    for name in ("aliases", "header_env", "params", "option", "worker_resources"):
        if name in chosen:
            chosen[name] = dict(chosen[name])
    if "dialect" in chosen:
        chosen["dialect"] = Api(chosen["dialect"])
    if "fail_on" in chosen:
        chosen["fail_on"] = frozenset(part for text in chosen["fail_on"] for part in text.split(",") if part)
    try:
        return _with_texts(Options.of(chosen))
    except UsageError as error:  # it speaks to programs
        raise UsageError(_as_typed(str(error), known)) from None


def _as_typed(words: str, known: Collection[str]) -> str:
    """A sentence about options in the names of the command line: `fail_on` is `--fail-on`."""
    names = "|".join(sorted((name for name in known if "_" in name), key=len, reverse=True))
    first = "|".join(sorted(known, key=len, reverse=True))
    return re.sub(rf"^({first})\b|(?<=and )({first})\b(?= (?:names|both|that))|(?<![-\w])({names})\b", _flag, words)


def _flag(match: re.Match[str]) -> str:
    name = match[0]
    singular = {"aliases": "--alias", "params": "--param", "worker_resources": "--worker-resource"}
    return singular.get(name, f"--{name.replace('_', '-')}")


def _with_texts(options: Options) -> Options:
    """Put what files hold in the place of their names: a pipe can be read once, and a signal still ends the waiting."""
    for name in ("prompt", "messages", "embed", "system"):
        told: str = getattr(options, name) or ""
        if told.startswith("@") and not told.startswith("@@"):
            from batcher.inputs.recipe import text_or_file

            text = text_or_file(told, f"--{name}")
            change: dict[str, Any] = {name: f"@{text}" if text.startswith("@") else text}
            options = replace(options, **change)
    if isinstance(options.schema, str):
        from batcher.inputs.schemas import schema_of

        options = replace(options, schema=schema_of(options.schema).document)
    return options
