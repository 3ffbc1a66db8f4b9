"""A simulated server for programs: the environment names it, as it would for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.simulator import BackgroundSimulator


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Iterator[BackgroundSimulator]:
    with simulator_thread() as simulator:
        monkeypatch.setenv("OLLAMA_HOST", simulator.url)
        monkeypatch.setenv("MODEL", "simulator")
        for name in ("LLM_ENDPOINT", "OPENAI_BASE_URL"):
            monkeypatch.delenv(name, raising=False)
        yield simulator
