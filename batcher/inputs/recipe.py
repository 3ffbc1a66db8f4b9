"""What a run makes of a row: the templates that say what is asked, and the columns that name its id, model and image.

Without a template a row is read as a line of a job file is, and the named columns are taken out of it first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from batcher.failures import LineError, UsageError
from batcher.inputs.formats.content import check_messages
from batcher.inputs.identity import canonical, canonical_id, own_id
from batcher.inputs.templates import Template, is_template, missing_column
from batcher.opening import read_given

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batcher.model import Json

TEXTS: Final = ("prompt", "messages", "embed", "system")
"""What a template may be for."""
_SINGLE: Final = re.compile(r"\{([^\W\d]\w*)\}")
"""A column as other programs write it."""
ASKING: Final = ("prompt", "messages", "embed")
"""Those of them that say what is asked, one alone."""


@dataclass(frozen=True, slots=True)
class Messages:
    """A conversation with templates in it. Raises UsageError if it is none, or one of them is wrong."""

    body: list[Json]
    templates: Mapping[str, Template]

    @classmethod
    def of(cls, text: str) -> Messages:
        """Read a JSON list of messages, or an object with one under `messages`."""
        try:
            body: Json = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise UsageError(f"--messages: broken JSON in line {error.lineno}: {error.msg}") from error
        if type(body) is dict and "messages" in body:
            body = body["messages"]
        try:
            check_messages(body)
        except LineError as error:
            raise UsageError(f"--messages: {error.message}") from error
        found = {text for text in _texts(body) if is_template(text)}
        return cls(body, {text: Template(text, "--messages") for text in sorted(found)})

    def fill(self, row: Mapping[str, Json]) -> list[Json]:
        """The conversation of a row. Raises LineError as `Template.fill` does."""
        filled: list[Json] = self._filled(self.body, row)
        return filled

    def _filled(self, value: Json, row: Mapping[str, Json]) -> Json:
        if type(value) is str:
            template = self.templates.get(value)
            return value if template is None else template.fill(row)
        if type(value) is dict:
            return {key: self._filled(item, row) for key, item in value.items()}
        return [self._filled(item, row) for item in value] if type(value) is list else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a request comes out of a row. `prompt`, `messages` or `embed` is what is asked; there is one of them at most.

    `said` is what was told, for the state file: texts, not the names of the files that they stood in.
    """

    prompt: Template | None = None
    messages: Messages | None = None
    embed: Template | None = None
    system: Template | None = None
    id_field: str | None = None
    model_field: str | None = None
    image_field: str | None = None
    columns: tuple[str, ...] | None
    """The columns that are used, sorted, an id's not among them; `None` if it may be any."""
    said: Mapping[str, str]

    @classmethod
    def of(cls, texts: Mapping[str, str | None], fields: Mapping[str, str | None]) -> Recipe | None:
        """Make it from `prompt`, `messages`, `embed`, `system`, and `id_field`, `model_field`, `image_field`.

        `None` if they ask for nothing: a `system` without columns is one for all rows. Raises UsageError for two
        that say what is asked, and for a template that is wrong.
        """
        told = {name: text_or_file(text, f"--{name}") for name, text in texts.items() if text is not None}
        return cls.again({**told, **{name: field for name, field in fields.items() if field is not None}})

    @classmethod
    def again(cls, said: Mapping[str, str]) -> Recipe | None:
        """As `of`, from what an earlier one said."""
        told = {name: text for name, text in said.items() if name in TEXTS}
        named = {name: field for name, field in said.items() if name not in TEXTS}
        if "system" in told and not is_template(told["system"]):
            del told["system"]
        if not told and not named:
            return None
        if len(content := sorted(told.keys() & {*ASKING})) > 1:
            raise UsageError(f"{' and '.join(f'--{name}' for name in content)} both say what is asked: say one of them")
        for name in content:
            if not told[name].strip():
                raise UsageError(f"--{name} is empty")
            if not is_template(told[name]) and (single := _SINGLE.search(told[name])):
                raise UsageError(
                    f"--{name}: a column is written {{{{ {single[1]} }}}}, with two braces, not {single[0]}"
                )
        messages = Messages.of(told["messages"]) if "messages" in told else None
        templates = {name: Template(text, f"--{name}") for name, text in told.items() if name != "messages"}
        every = [*templates.values(), *(messages.templates.values() if messages else ())]
        used = [template.columns for template in every]
        columns = {named[name] for name in ("model_field", "image_field") if name in named}.union(*filter(None, used))
        return cls(
            messages=messages,
            prompt=templates.get("prompt"),
            embed=templates.get("embed"),
            system=templates.get("system"),
            id_field=named.get("id_field"),
            model_field=named.get("model_field"),
            image_field=named.get("image_field"),
            columns=None if None in used else tuple(sorted(columns)),
            said={**told, **named},
        )

    @property
    def asks(self) -> bool:
        """Whether a template says what is asked; then every key of a row is a column and nothing else."""
        return self.prompt is not None or self.messages is not None or self.embed is not None

    def record(self, row: Mapping[str, Json]) -> dict[str, Json]:
        """The request of a row, in the names of a job file. Raises LineError for what the row lacks."""
        record: dict[str, Json]
        if self.prompt is not None:
            record = {"prompt": self.prompt.fill(row)}
        elif self.messages is not None:
            record = {"messages": self.messages.fill(row)}
        elif self.embed is not None:
            record = {"input": self.embed.fill(row)}
        else:
            named = {self.id_field, self.model_field, self.image_field}
            record = {key: value for key, value in row.items() if key not in named}
        if self.system is not None and "system" not in record:
            record["system"] = self.system.fill(row)
        if self.model_field is not None and (model := _named(row, self.model_field)):
            record["model"] = model
        if (images := self._images(row)) is not None:
            record["images"] = images
        return record

    def _images(self, row: Mapping[str, Json]) -> list[Json] | None:
        """The images of a row: in the column that is named for them, or brought along under `images`, as files are."""
        if self.image_field is not None:
            found = _named(row, self.image_field)
            return None if not found else found if type(found) is list else [found]
        brought = row.get("images") if self.asks and "images" not in (self.columns or ()) else None
        if type(brought) is not list or not all(type(image) is str for image in brought):
            return None
        return brought or None

    def own_id(self, row: Mapping[str, Json]) -> str | None:
        """The id that a row brings, if it brings one. Raises LineError."""
        if self.id_field is None:
            return own_id(row)
        ident = canonical_id(_named(row, self.id_field))
        if ident is None:
            raise LineError("template_null", f'the column "{self.id_field}", which holds the ids, is null')
        return ident

    def identity(self, row: Mapping[str, Json]) -> bytes | None:
        """By what a row without an id is known: the values that it is asked for; `None` if that is all of its line."""
        if not self.asks:
            return None
        columns = row if self.columns is None else (*self.columns, "images")
        return canonical({name: row[name] for name in columns if name in row})


def _named(row: Mapping[str, Json], column: str) -> Json:
    try:
        return row[column]
    except KeyError:
        raise missing_column(column, row) from None


def _texts(value: Json) -> Iterator[str]:
    if type(value) is str:
        yield value
    elif type(value) is dict:
        for item in value.values():
            yield from _texts(item)
    elif type(value) is list:
        for item in value:
            yield from _texts(item)


def text_or_file(text: str, name: str) -> str:
    """The text itself, or what the file behind an `@` holds; `@@` stands for an `@`. Raises UsageError."""
    if not text.startswith("@"):
        return text
    if text.startswith("@@"):
        return text[1:]
    try:
        return read_given(Path(text[1:]).expanduser()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: {text[1:]} is not UTF-8: byte {error.start + 1}") from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{name}: {text[1:]} cannot be read: {reason}") from error
