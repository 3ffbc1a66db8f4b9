"""The sandbox that templates are filled in: Jinja with no way to files or to Python, strict about what is not there.

A null can be asked about (`if`, `is none`, `==`) and has a `default()`; used, it fails as a missing column does.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from batcher.failures import LineError
from batcher.inputs.expense import (
    COUNT,
    MADE,
    bounded,
    check_call,
    check_operation,
    counted,
    guarded,
    joined,
    tied,
    turns,
)

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.runtime import Context
    from jinja2.sandbox import SandboxedEnvironment

    from batcher.model import Json


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


def marked(value: Json, name: str = "") -> Json:
    """A value with something in the place of each null, at any depth, that fails where it is used."""
    if value is None:
        return _null_type()(name)
    if type(value) is dict:
        return {key: marked(item, key) for key, item in value.items()}
    return [marked(item, name) for item in value] if type(value) is list else value


class MissingError(Exception):
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
def environment_of() -> SandboxedEnvironment:
    """Make the one environment: no files, no access to what Python has behind a value, nothing that is changed."""
    from jinja2 import StrictUndefined, TemplateRuntimeError, Undefined, UndefinedError, pass_context
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
                self._undefined_exception = lambda _: MissingError(name)  # type: ignore[assignment]  # as a null's

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**", "%", "+"})
        concat = staticmethod(joined)

        def _generate(self, source: nodes.Template, *rest: Any, **more: Any) -> str:  # Jinja's own hook for this
            return super()._generate(counted(source), *rest, **more)

        def call(self, context: Context, called: Any, /, *args: Any, **named: Any) -> Any:
            check_call(context, called, args, named)
            return super().call(context, called, *args, **named)

        def getattr(self, obj: Any, attribute: str) -> Any:
            if isinstance(obj, dict) and attribute in obj:  # a key called `items` comes before what dicts can do
                return obj[attribute]
            return super().getattr(obj, attribute)

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            check_operation(operator, left, right)
            return super().call_binop(context, operator, left, right)

    def finalize(value: Any) -> str:
        return str(value) if isinstance(value, Undefined) else text_of(bounded(value), "")

    environment = Environment(undefined=Missing, finalize=finalize, autoescape=False)
    environment.globals = {name: environment.globals[name] for name in ("range", "namespace")}
    environment.filters["tojson"] = _to_json  # Jinja's own writes HTML
    environment.filters = {name: guarded(name, filtered) for name, filtered in environment.filters.items()}
    environment.filters |= {COUNT: pass_context(turns), MADE: tied}
    environment.tests["none"] = lambda value: value is None or isinstance(value, null)
    return environment


def _to_json(value: Json, indent: int | None = None) -> str:
    """JSON as a model reads it best: with spaces, letters as they are, and a null inside a value as null."""
    return json.dumps(value, ensure_ascii=False, indent=indent, default=_as_null)


def _as_null(value: Any) -> None:
    if value != None:  # noqa: E711 - what stands for a null is equal to it, and not the same
        raise TypeError(f"{type(value).__name__} is nothing that JSON has")
