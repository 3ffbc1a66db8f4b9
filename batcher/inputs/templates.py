"""Templates of prompts: Jinja in a sandbox, strict about what a row does not have.

A name is a column of the row; `row` is the whole of it, for columns whose names are none: `{{ row["Review text"] }}`.
Text goes in as it is, other values as JSON writes them. A column that is missing fails the row; so does a null that is
used, but it can be asked about (`if`, `is none`, `==`) and has a `default()` like what is missing.

jinja2 is imported when the first template is made. Reference: https://jinja.palletsprojects.com/en/stable/templates/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.failures import LineError, UsageError
from batcher.inputs.expense import COUNT
from batcher.inputs.sandbox import MissingError, environment_of, marked, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2 import nodes
    from jinja2.sandbox import SandboxedEnvironment

    from batcher.model import Json

WHOLE: Final = "row"
"""The name that stands for all columns."""
_MARKS: Final = ("{{", "{%", "{#")
_SPACED: Final = 'a column whose name is not one word is written {{ row["its name"] }}'
_SHOWN: Final = 8
"""Columns that a message names."""


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

        environment = environment_of()
        try:
            tree = environment.parse(source)
            _refuse_others(tree, name)
            self.columns = _columns(tree)
            pieces = _plain(tree)
            self._fill = _joiner(pieces) if pieces is not None else _renderer(environment, source, self.columns)
        except TemplateSyntaxError as error:
            hint = f"; {_SPACED}" if "end of print statement" in (error.message or "") else ""
            raise UsageError(f"{name}: {error.message} in line {error.lineno} of the template{hint}") from error

    def fill(self, row: Mapping[str, Json]) -> str:
        """Put a row's values in. Raises LineError if a column is missing or null, or the template fails on it."""
        return self._fill(row)


def missing_column(column: str, row: Mapping[str, Json]) -> LineError:
    """The error for a column that a row should have, with the nearest that it has."""
    from difflib import get_close_matches

    near = get_close_matches(column, [str(name) for name in row], 1)
    names = ", ".join(f'"{name:.40}"' for name in list(row)[:_SHOWN])
    hint = f'; did you mean "{near[0]}"?' if near else f"; it has {names or 'none at all'}"
    return LineError("template_column", f'the row has no column "{column}"{hint}')


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
        values = {name: marked(row[name], name) for name in names}
        try:
            return template.render({**values, WHOLE: values, COUNT: [0]})
        except LineError:
            raise
        except MissingError as error:
            raise missing_column(error.column, row) from error
        except UndefinedError as error:
            raise LineError("template_column", f"the template cannot be filled in: {error.message}") from error
        except TemplateError as error:
            raise LineError("template_failed", f"the template fails on this row: {error.message}") from error
        except Exception as error:  # whatever an expression may raise: it is this row's, as 1 / 0 is
            raise LineError("template_failed", f"the template fails on this row: {error}") from error

    return fill
