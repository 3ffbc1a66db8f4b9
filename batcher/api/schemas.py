"""Structured answers: a schema, or a class that has one, as it is asked for, and what an answer becomes by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from batcher import codec
from batcher.failures import UsageError

if TYPE_CHECKING:
    from batcher.outcome import Completion

MISMATCH = "schema_mismatch"
"""The flag of an answer that is not what the schema says."""


@runtime_checkable
class Model(Protocol):
    """A class of pydantic's kind: it tells its schema, and makes an object of JSON that fits."""

    def model_json_schema(self) -> dict[str, Any]: ...
    def model_validate_json(self, json_data: str) -> Any: ...


class Schema:
    """What answers are to look like. Raises UsageError for what is neither a schema nor a class that has one."""

    def __init__(self, schema: Any) -> None:
        self._model: Any = None
        if isinstance(schema, Mapping):
            self.schema = dict(schema)
        elif isinstance(schema, Model):
            self._model, self.schema = schema, schema.model_json_schema()
        else:
            raise UsageError(
                "schema is a JSON schema as a mapping, or a class with model_json_schema, such as pydantic's"
            )

    def put(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a run that asks for it. Raises UsageError if they ask for a format themselves."""
        if taken := {"format", "response_format"} & (values.get("params") or {}).keys():
            raise UsageError(f"schema and params both say what answers look like: leave {taken.pop()!r} out of params")
        return {**values, "schema": self.schema}

    def read(self, completion: Completion) -> Any:
        """Make the object; an answer that does not fit is flagged, and there is none."""
        if self._model is None:
            return completion.parsed
        text = completion.first.text if completion.parsed is None else codec.dumps(completion.parsed).decode()
        try:
            return self._model.model_validate_json(text)
        except ValueError:  # pydantic's errors are such
            completion.flag(MISMATCH)
            return None
