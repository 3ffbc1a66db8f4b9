"""Holds runs on a Ray cluster of three nodes: one of them dies, the head is away, the run is killed."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
import ray
from ray.cluster_utils import Cluster
from withray.conftest import PATIENCE, RayDesk, parent, until
from withray.test_run import jobs, results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.timeout(180), pytest.mark.filterwarnings("ignore")]  # Ray has many of its own
ENGINE = ("--engine", "ray", "--workers", "2", "-m", "simulator", "--no-progress", "--worker-resource", "place=1")


@pytest.fixture
def three(desk: RayDesk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head, on which nobody works, and three nodes with a place each."""
    for name in ("RAY_TMPDIR", "HOME"):
        monkeypatch.setenv(name, desk.env[name])
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    desk.env["RAY_AUTH_MODE"] = "disabled"
    settings = {"object_store_memory": 80 * 1024 * 1024, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **settings})
    nodes = [
        cluster.add_node(num_cpus=1, resources={"place": 1}, object_store_memory=80 * 1024 * 1024) for _ in range(3)
    ]
    yield cluster, nodes
    cluster.shutdown()
    ray.shutdown()


def test_a_node_dies_and_the_run_is_killed(three: Any, desk: RayDesk, server: Callable[..., str]) -> None:
    """Its worker is followed by one on the node that was free; a run that is killed takes its workers with it."""
    cluster, nodes = three
    url = server()
    jobs(desk, 400, "tokens=10 delay=0.05")
    command = (
        *("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", url, "-c", "8", *ENGINE),
        *("--ray-address", cluster.address),
    )
    run = desk.start(*command)
    until(lambda: len(desk.lines()) > 40 and len(desk.workers()) == 2, "answers by two workers")
    busy = next(node for node in nodes if _raylet(node) in map(parent, desk.workers()))
    cluster.remove_node(busy, allow_graceful=False)
    before = len(desk.lines())
    until(lambda: len(desk.lines()) > before + 60 and len(desk.workers()) == 2, "answers by two workers again")
    run.kill()
    _, words = run.communicate()
    assert words.count("sent again, and another one") == 1, words
    until(lambda: not desk.workers(), "the workers are gone")
    ran = desk.run(*command, patience=PATIENCE)
    assert ran.code == 0, ran.err
    done = results(desk)
    assert len(done) == 400
    assert all(line["attempts"] == 1 for line in done.values())
    until(lambda: not desk.workers(), "the workers are gone")
    ran = desk.run(*command, "--overwrite", "--worker-resource", "place=2", "--max-wait", "1s", patience=PATIENCE)
    assert ran.code == 69, ran.err
    assert ran.err.count("a worker asks for place=2, of which no machine has more than 1") == 2, "a note, and the end"


def test_a_head_that_is_not_there(desk: RayDesk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    jobs(desk, 1)
    began = time.monotonic()
    ran = desk.run(
        *("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", "http://127.0.0.1:9/v1", "--dialect", "openai"),
        *(*ENGINE, "--ray-address", f"127.0.0.1:{port}"),
    )
    assert ran.code == 69
    assert f"Ray at 127.0.0.1:{port} could not be reached: " in ran.err
    assert "refused" in ran.err
    assert time.monotonic() - began < PATIENCE
    assert not (desk.path / "results.jsonl").exists()


def test_this_machine_lacks_what_a_worker_asks_for(desk: RayDesk) -> None:
    """Nothing is waited for: no other machine joins a Ray that was started for the run."""
    jobs(desk, 1)
    ran = desk.run(
        *("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", "http://127.0.0.1:9/v1", "--dialect", "openai"),
        *(*ENGINE, "--worker-resource", "GPU=1000"),
        patience=PATIENCE,
    )
    assert ran.code == 78, ran.err
    assert "no worker can be started on this machine: a worker asks for GPU=1000, of which" in ran.err
    until(lambda: not desk.pids(), "all processes are gone")


def _raylet(node: Any) -> int:
    (process,) = node.all_processes["raylet"]
    return int(process.process.pid)
