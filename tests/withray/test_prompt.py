"""Holds the class for Ray Data's `map_batches`: columns go in, answers and errors come back as columns."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest
import ray

from batcher.ray import Prompt
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from withray.conftest import RayDesk

BATCH: Final = 256
IN_FLIGHT: Final = 200
CODES: Final = {"status=400": "bad_request", "status=500": "server_crash", "do=cut": "cut"}
"""What becomes of those that are answered so."""
pytestmark = [pytest.mark.timeout(180), pytest.mark.filterwarnings("ignore")]  # Ray has many of its own


def test_rows_of_a_dataset_are_answered(desk: RayDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row has its own answer, or its own error; hundreds are in flight at once by one actor."""
    for name in ("RAY_TMPDIR", "HOME"):
        monkeypatch.setenv(name, desk.env[name])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH")])))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 1024 * 1024)
    words = [*CODES, *(f"say=say{number}" for number in range(len(CODES), 2 * BATCH))]
    try:
        with simulator_thread(look="openai", slots=1000) as sim:
            rows = [{"number": number, "word": word} for number, word in enumerate(words)]
            answers = ray.data.from_items(rows, override_num_blocks=2).map_batches(
                Prompt,
                fn_constructor_kwargs={
                    "prompt": "[[sim id={{ number }} ttft=2 {{ word }}]]",
                    "model": "simulator",
                    "base_url": sim.url,
                    "concurrency": IN_FLIGHT,
                    "retries": 0,
                },
                batch_size=BATCH,
                compute=ray.data.ActorPoolStrategy(size=1),
            )
            found = {row["number"]: row for row in answers.take_all()}
    finally:
        ray.shutdown()
    assert set(found) == set(range(2 * BATCH))
    assert IN_FLIGHT / 2 < sim.peak_in_flight <= IN_FLIGHT
    codes = {number: row["error"].split(":")[0] for number, row in found.items() if row["error"] is not None}
    assert codes == {number: CODES[word] for number, word in enumerate(words) if word in CODES}
    good = {number: row for number, row in found.items() if number not in codes}
    assert all(row["text"] == f"say{number}" for number, row in good.items())
    assert all(row["completion_tokens"] > 0 for row in good.values())
