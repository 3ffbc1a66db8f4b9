"""Holds the class for Ray Data's `map_batches`: columns go in, answers and errors come back as columns."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import ray

from batcher.ray import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable

    from withray.conftest import RayDesk

pytestmark = [pytest.mark.timeout(180), pytest.mark.filterwarnings("ignore")]  # Ray has many of its own


def test_rows_of_a_dataset_are_answered(
    desk: RayDesk, server: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row has its own answer, or its own error; all of a batch are asked at once."""
    url = server("--slots", "100", "--speed", "50")
    for name in ("RAY_TMPDIR", "HOME"):
        monkeypatch.setenv(name, desk.env[name])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH")])))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 1024 * 1024)
    try:
        rows = [{"number": n, "word": "bad status=400" if n == 7 else f"say{n}"} for n in range(64)]
        answers = ray.data.from_items(rows, override_num_blocks=2).map_batches(
            Prompt,
            fn_constructor_kwargs={
                "prompt": "[[sim id={{ word }} say={{ word }}]]",
                "model": "simulator",
                "base_url": url,
                "concurrency": 32,
                "retries": 0,
            },
            batch_size=32,
            concurrency=1,
        )
        found = {row["number"]: row for row in answers.take_all()}
    finally:
        ray.shutdown()
    assert set(found) == set(range(64))
    assert [number for number, row in found.items() if row["error"] is not None] == [7]
    assert found[7]["error"].startswith("bad_request: ")
    assert all(row["text"] == f"say{number}" for number, row in found.items() if number != 7)
    assert found[1]["completion_tokens"] > 0
