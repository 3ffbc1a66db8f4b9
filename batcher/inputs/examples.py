"""Makes one value that fits a schema, for models that follow a form sooner than a description. Pure.

It need not succeed: whoever shows it has held it against the schema first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.model import Json

_STEPS: Final = 1000
"""Schemas within a schema that are looked at: it may go round in circles."""
_DEEP: Final = 6
"""Levels below which only what is required is shown."""
_MOST: Final = 16
"""Items of a list."""
_PLAIN: Final[Mapping[str, Json]] = {"string": "…", "boolean": True, "null": None}


def example_of(schema: Json) -> Json:
    """A value as a schema describes it, with the first of several choices. Raises ValueError if it has no end."""
    return _Maker(schema).make(schema, 0)


@dataclass(slots=True)
class _Maker:
    root: Json
    steps: int = 0

    def make(self, schema: Any, depth: int) -> Json:
        self.steps += 1
        if self.steps > _STEPS or depth > _STEPS // 10:
            raise ValueError("the schema goes round in circles")
        if type(schema) is not dict:
            return None
        for name in ("const", "default"):
            if name in schema:
                return schema[name]
        for name in ("enum", "examples"):
            if schema.get(name):
                return schema[name][0]
        if "$ref" in schema:
            return self.make(self._referred(schema["$ref"]), depth + 1)
        for name in ("anyOf", "oneOf", "allOf"):
            if schema.get(name):
                return self.make(schema[name][0], depth + 1)
        return self._of_kind(schema, depth)

    def _of_kind(self, schema: dict[str, Any], depth: int) -> Json:
        kinds = schema.get("type", "object" if "properties" in schema else "")
        kind = kinds if type(kinds) is str else kinds[0]
        if kind == "object":
            fields = schema.get("properties", {})
            shown = fields if depth <= _DEEP else [name for name in schema.get("required", ()) if name in fields]
            return {name: self.make(fields[name], depth + 1) for name in shown}
        if kind == "array":
            count = min(_MOST, max(depth <= _DEEP, schema.get("minItems", 0)))
            return [self.make(schema.get("items"), depth + 1) for _ in range(count)]
        return schema.get("minimum", 1) if kind in ("integer", "number") else _PLAIN.get(kind)

    def _referred(self, reference: str) -> Json:
        """What a reference into the schema itself leads to; nothing for any other."""
        found: Any = self.root if reference.startswith("#") else None
        for step in reference.removeprefix("#").split("/")[1:]:
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if type(found) is dict else None
        return found
