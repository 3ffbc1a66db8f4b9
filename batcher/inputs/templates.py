"""Templates of prompts: Jinja in a sandbox, strict about what a row does not have.

A name is a column of the row; `row` is the whole of it, for columns whose names are none: `{{ row["Review text"] }}`.
Text goes in as it is, other values as JSON writes them. A column that is missing fails the row; so does a null that is
used, but it can be asked about (`if`, `is none`, `==`) and has a `default()` like what is missing.

jinja2 is imported when the first template is made. Reference: https://jinja.palletsprojects.com/en/stable/templates/
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from batcher.failures import LineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2 import nodes
    from jinja2.sandbox import SandboxedEnvironment

    from batcher.model import Json

WHOLE: Final = "row"
"""The name that stands for all columns."""
_MARKS: Final = ("{{", "{%", "{#")
_SHOWN: Final = 8
"""Columns that a message names."""
_LONGEST: Final = 64 * 1024 * 1024
"""Characters that a template may make by repeating text."""


def is_template(text: str) -> bool:
    """Whether a text has anything in it that Jinja would read."""
    return any(mark in text for mark in _MARKS)


class Template:
    """One text with columns in it, read once and filled in for each row.

    `columns` are those that it names, sorted; `None` if it may use any. Raises UsageError, which names the line, for a
    text that is no template; `name` says where it stands, such as `--prompt`.
    """

    __slots__ = ("_fill", "columns")

    def __init__(self, source: str, name: str) -> None:
        from jinja2 import TemplateSyntaxError

        environment = _environment()
        try:
            tree = environment.parse(source)
            _refuse_others(tree, name)
            self.columns = _columns(tree)
            pieces = _plain(tree)
            self._fill = _joiner(pieces) if pieces is not None else _renderer(environment, source, self.columns)
        except TemplateSyntaxError as error:
            raise UsageError(f"{name}: {error.message} in line {error.lineno} of the template") from error

    def fill(self, row: Mapping[str, Json]) -> str:
        """Put a row's values in. Raises LineError if a column is missing or null, or the template fails on it."""
        return self._fill(row)


def text_of(value: Json, column: str) -> str:
    """What stands for a value in a text. Raises LineError for a null."""
    if type(value) is str:
        return value
    if value is None:
        raise _null(column)
    if type(value) is int:
        return str(value)
    try:
        return _to_json(value)
    except TypeError:  # what JSON has no word for, such as a date: as Python says it
        return str(value)


def _null(column: str) -> LineError:
    where = f'the column "{column}"' if column else "a value"
    name = column if column.isidentifier() else "column"
    return LineError(
        "template_null",
        f"{where}, which the template uses, is null; say what stands for it: {{{{ {name} | default('…') }}}}",
    )


def missing_column(column: str, row: Mapping[str, Json]) -> LineError:
    """The error for a column that a row should have, with the nearest that it has."""
    from difflib import get_close_matches

    near = get_close_matches(column, [str(name) for name in row], 1)
    names = ", ".join(f'"{name:.40}"' for name in list(row)[:_SHOWN])
    hint = f'; did you mean "{near[0]}"?' if near else f"; it has {names or 'none at all'}"
    return LineError("template_column", f'the row has no column "{column}", which is asked for{hint}')


def _plain(tree: nodes.Template) -> list[tuple[str, str]] | None:
    """The pieces (text, column after it, "" at the end) of a template that names columns and does nothing else."""
    from jinja2 import nodes

    pieces: list[tuple[str, str]] = []
    text = ""
    for statement in tree.body:
        if not isinstance(statement, nodes.Output):
            return None
        for node in statement.nodes:
            if isinstance(node, nodes.TemplateData):
                text += node.data
            elif (column := _column(node)) is not None:
                pieces.append((text, column))
                text = ""
            else:
                return None
    return [*pieces, (text, "")]


def _column(node: nodes.Node) -> str | None:
    """The column that an expression is, if it is nothing else."""
    from jinja2 import nodes

    if isinstance(node, nodes.Name):
        return None if node.name == WHOLE else node.name
    if isinstance(node, nodes.Getattr) and _is_whole(node.node):
        return node.attr
    if isinstance(node, nodes.Getitem) and _is_whole(node.node) and isinstance(node.arg, nodes.Const):
        return node.arg.value if type(node.arg.value) is str else None
    return None


def _is_whole(node: nodes.Node) -> bool:
    from jinja2 import nodes

    return isinstance(node, nodes.Name) and node.name == WHOLE


def _columns(tree: nodes.Template) -> tuple[str, ...] | None:
    from jinja2 import nodes
    from jinja2.meta import find_undeclared_variables

    named = find_undeclared_variables(tree)
    if WHOLE not in named:
        return tuple(sorted(named))
    whole = sum(_is_whole(node) for node in tree.find_all(nodes.Name))
    chosen = [c for node in tree.find_all((nodes.Getattr, nodes.Getitem)) if (c := _column(node)) is not None]
    return tuple(sorted({*named, *chosen} - {WHOLE})) if len(chosen) == whole else None


def _refuse_others(tree: nodes.Template, name: str) -> None:
    """Raise UsageError for what would want other templates: there are none."""
    from jinja2 import nodes

    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise UsageError(f"{name}: a template stands alone, and line {node.lineno} wants another one")


def _joiner(pieces: list[tuple[str, str]]) -> Callable[[Mapping[str, Json]], str]:
    """The short way for columns between texts, which is that of nearly every prompt."""
    *columns, (tail, _) = pieces

    def fill(row: Mapping[str, Json]) -> str:
        parts = []
        for text, column in columns:
            try:
                value = row[column]
            except KeyError:
                raise missing_column(column, row) from None
            parts.append(text)
            parts.append(value if type(value) is str else text_of(value, column))
        parts.append(tail)
        return "".join(parts)

    return fill


def _renderer(
    environment: SandboxedEnvironment, source: str, columns: tuple[str, ...] | None
) -> Callable[[Mapping[str, Json]], str]:
    from jinja2 import TemplateError, UndefinedError

    template = environment.from_string(source)

    def fill(row: Mapping[str, Json]) -> str:
        names = row if columns is None else [name for name in columns if name in row]
        values = {name: _marked(row[name], name) for name in names}
        try:
            return template.render({**values, WHOLE: values})
        except LineError:
            raise
        except _MissingError as error:
            raise missing_column(error.column, row) from error
        except UndefinedError as error:
            raise LineError("template_column", f"the template cannot be filled in: {error.message}") from error
        except TemplateError as error:
            raise LineError("template_failed", f"the template fails on this row: {error.message}") from error
        except Exception as error:  # whatever an expression may raise: it is this row's, as 1 / 0 is
            raise LineError("template_failed", f"the template fails on this row: {error}") from error

    return fill


def _marked(value: Json, name: str = "") -> Json:
    """A value with something in the place of each null, at any depth, that fails where it is used."""
    if value is None:
        return _null_type()(name=name)
    if type(value) is dict:
        return {key: _marked(item, key) for key, item in value.items()}
    return [_marked(item, name) for item in value] if type(value) is list else value


class _MissingError(Exception):
    """A template used a column that the row does not have."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


@cache
def _null_type() -> Any:
    """The class of what stands for a null: it can be asked about, and not be used."""
    from jinja2 import StrictUndefined

    class Null(StrictUndefined):
        __slots__ = ()

        def __init__(self, name: str) -> None:
            super().__init__(name=name)
            self._undefined_exception = lambda _: _null(name)  # type: ignore[assignment]  # whatever makes an error

        def __bool__(self) -> bool:  # type: ignore[override]  # here the base class never returns
            return False

        def __eq__(self, other: object) -> bool:  # type: ignore[override]  # as above
            return other is None or isinstance(other, Null)

        def __ne__(self, other: object) -> bool:  # type: ignore[override]  # as above
            return not self == other

        def __hash__(self) -> int:  # type: ignore[override]  # as above
            return hash(None)

    return Null


@cache
def _environment() -> SandboxedEnvironment:
    """Make the one environment: no files, no access to what Python has behind a value, nothing that is changed."""
    from jinja2 import StrictUndefined, TemplateRuntimeError, Undefined, UndefinedError
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import missing as nothing

    null = _null_type()

    class Missing(StrictUndefined):
        """A name that is no column; deeper down Jinja's own words say best what is missing of what."""

        __slots__ = ()

        def __init__(
            self,
            hint: str | None = None,
            obj: Any = nothing,
            name: str | None = None,
            exc: type[TemplateRuntimeError] = UndefinedError,
        ) -> None:
            super().__init__(hint, obj, name, exc)
            if obj is nothing and hint is None and name is not None:
                self._undefined_exception = lambda _: _MissingError(name)  # type: ignore[assignment]  # as a null's

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**"})

        def getattr(self, obj: Any, attribute: str) -> Any:
            if isinstance(obj, dict) and attribute in obj:  # a key called `items` comes before what dicts can do
                return obj[attribute]
            return super().getattr(obj, attribute)

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            for one, other in ((left, right), (right, left)):
                if isinstance(one, str | list | tuple) and isinstance(other, int) and len(one) * other > _LONGEST:
                    raise SecurityError(f"{len(one)} times {other} is more than a prompt can be")
            if operator == "**" and not (abs(left) < 1 << 64 and abs(right) < 1 << 8):
                raise SecurityError("the power is too large")
            return super().call_binop(context, operator, left, right)

    def finalize(value: Any) -> str:
        return str(value) if isinstance(value, Undefined) else text_of(value, "")

    environment = Environment(undefined=Missing, finalize=finalize, autoescape=False)
    environment.globals = {name: environment.globals[name] for name in ("range", "namespace")}
    environment.filters["tojson"] = _to_json  # Jinja's own writes HTML
    environment.tests["none"] = lambda value: value is None or isinstance(value, null)
    return environment


def _to_json(value: Json, indent: int | None = None) -> str:
    """JSON as a model reads it best: with spaces, letters as they are, and a null inside a value as null."""
    return json.dumps(value, ensure_ascii=False, indent=indent, default=_as_null)


def _as_null(value: Any) -> None:
    if value != None:  # noqa: E711 - what stands for a null is equal to it, and not the same
        raise TypeError(f"{type(value).__name__} is nothing that JSON has")


def text_or_file(text: str, name: str) -> str:
    """The text itself, or what the file behind an `@` holds; `@@` stands for an `@`. Raises UsageError."""
    from pathlib import Path

    if not text.startswith("@"):
        return text
    if text.startswith("@@"):
        return text[1:]
    try:
        return Path(text[1:]).expanduser().read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: {text[1:]} is not UTF-8: byte {error.start + 1}") from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{name}: {text[1:]} cannot be read: {reason}") from error
