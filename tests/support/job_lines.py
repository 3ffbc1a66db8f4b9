"""Reads one line as a job, for tests of what lines mean and of how they are refused."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from batcher.failures import LineError
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.formats.jsonl import parse_job

if TYPE_CHECKING:
    from batcher.model import Job

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(100))
ENCODED = b64encode(PNG).decode()
USER = {"role": "user", "content": "hi"}


def job_of(_data: bytes | None = None, /, *, defaults: Defaults | None = None, **record: Any) -> Job:
    return parse_job(_data if _data is not None else orjson.dumps(record), 0, defaults or Defaults())


def refusal(_data: bytes | None = None, /, *, defaults: Defaults | None = None, **record: Any) -> LineError:
    with pytest.raises(LineError) as caught:
        job_of(_data, defaults=defaults, **record)
    assert len(caught.value.message) < 1000
    return caught.value


def tried(data: bytes) -> Job | LineError:
    try:
        return job_of(data)
    except LineError as error:
        return error
