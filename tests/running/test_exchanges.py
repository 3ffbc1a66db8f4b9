"""Holds who makes the exchanges of a run: this process, with nothing of a cluster, unless an engine is asked for."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from batcher.exchange.cluster.cluster import Cluster
from batcher.exchange.cluster.placement import inherited
from batcher.exchange.workers import Workers
from batcher.failures import ConfigError, UsageError
from batcher.model import Api, Endpoint
from batcher.options import Options
from batcher.redaction import Redactor
from batcher.running.exchanges import exchanges_for
from batcher.servers.contact import Contact
from batcher.wire.transport import Transport

if TYPE_CHECKING:
    from support.commandline import Desk


def contact(*roots: str) -> Contact:
    endpoints = tuple(Endpoint(root=root, api=Api.OPENAI) for root in roots)
    proxies = {"http://a": "http://user:word@proxy:8080"}
    return Contact(endpoints, Transport(connect_timeout=3.0, proxies=proxies), Redactor(), "", slots=5)


def test_one_process_knows_no_cluster() -> None:
    """Without an engine the maker is the one of this process, and no module of the other is imported."""
    assert type(exchanges_for(Options(), contact("http://a"))) is Workers
    names = "[name for name in sys.modules if name.startswith(('batcher.exchange.cluster', 'ray'))]"
    code = f"import sys, batcher.running.runner, batcher.commands.run; print({names})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_workers_are_told_what_this_process_would_do() -> None:
    options = Options(engine="ray", workers=3, raw=True, timeout=7.0, min_speed=0.5, fail_on=frozenset({"empty"}))
    made = exchanges_for(options, contact("http://a", "http://b"))
    assert type(made) is Cluster
    assert (made.size, made.owned, made.fail_on) == (3, (), {"empty"})
    setup = made.setup
    assert (setup.timeouts.total, setup.timeouts.min_speed, setup.connect_timeout) == (7.0, 0.5, 3.0)
    assert (setup.raw, setup.local, dict(setup.proxies)) == (True, False, {"http://a": "http://user:word@proxy:8080"})
    assert "word" not in repr(made) + repr(setup)


def test_keys_leave_this_machine_only_if_that_is_said() -> None:
    """What goes to workers elsewhere is not encrypted."""
    keyed = contact("http://a")
    elsewhere = Options(engine="ray", ray_address="head:6379")
    with pytest.raises(ConfigError, match="Say --allow-insecure if the network is yours"):
        exchanges_for(elsewhere, keyed)
    keyed = replace(keyed, endpoints=(replace(keyed.endpoint, headers={"Authorization": "Bearer k"}),))
    keyed.transport = Transport()
    with pytest.raises(ConfigError, match="Say --allow-insecure if the network is yours"):
        exchanges_for(elsewhere, keyed)
    assert type(exchanges_for(replace(elsewhere, allow_insecure=True), keyed)) is Cluster
    assert type(exchanges_for(Options(engine="ray"), keyed)) is Cluster


def test_each_worker_has_a_server_of_its_own() -> None:
    options = Options(engine="ray", workers=2, local=True, worker_cpus=2.5)
    made = exchanges_for(options, contact("http://worker-1", "http://worker-2"))
    assert type(made) is Cluster
    assert made.owned == ("http://worker-1", "http://worker-2")
    assert (made.setup.local, made.setup.slots, made.setup.threads) == (True, 5, 2)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"engine": "dask"}, "engine is ray, or not given, not 'dask'"),
        ({"workers": 2}, "are for an engine: say engine as well"),
        ({"ray_address": "head:6379"}, "are for an engine: say engine as well"),
        ({"worker_resources": {"GPU": 1}}, "are for an engine: say engine as well"),
        ({"engine": "ray", "workers": 0}, "workers must be at least 1, not 0"),
        ({"engine": "ray", "worker_resources": {"CPU": 2}}, "for CPUs say worker_cpus"),
        ({"engine": "ray", "worker_resources": {"object_store_memory": 2}}, "nothing of Ray's store"),
        ({"engine": "ray", "worker_cpus": -1}, "worker_cpus must not be less than 0 CPUs"),
        ({"engine": "ray", "worker_cpus": float("nan")}, "worker_cpus must not be less than 0 CPUs"),
        ({"engine": "ray", "worker_resources": {"GPU": "one"}}, "worker_resources: GPU must be a number, not 'one'"),
        ({"engine": "ray", "worker_resources": {"GPU": True}}, "worker_resources: GPU must be a number, not True"),
        ({"engine": "ray", "ray_address": "ray://head:10001"}, "ray_address is HOST:PORT, or auto"),
    ],
)
def test_what_contradicts_itself_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Options.of(values)


def test_the_command_names_its_options(desk: Desk) -> None:
    desk.write("jobs.jsonl", {"id": "a", "prompt": "b"})
    ran = desk.call("run", "jobs.jsonl", "--worker-resource", "GPU=1", "--base-url", "http://127.0.0.1:9", "-m", "m")
    assert ran.code == 2
    assert "--worker-resource" in ran.err


def test_ray_inherits_no_key() -> None:
    """What it gets of the environment, its workers and their logs have too."""
    kept = {"PATH": "/bin", "RAY_TMPDIR": "/t", "PYTHONPATH": "/p", "CUDA_VISIBLE_DEVICES": "0"}
    kept |= {"SSL_CERT_FILE": "/c.pem", "SSL_CERT_DIR": "/c"}
    keys = {"OPENAI_API_KEY": "k", "HTTPS_PROXY": "http://a:b@c", "AZURE_KEY": "k", "HF_TOKEN": "k", "MY_PATH": "k"}
    assert inherited(kept | keys) == kept


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_no_ray_is_told_with_its_extra(desk: Desk) -> None:
    desk.write("jobs.jsonl", {"id": "a", "prompt": "b"})
    server = ("--base-url", "http://127.0.0.1:9/v1", "--dialect", "openai", "-m", "m")
    ran = desk.run("run", "jobs.jsonl", "-o", "out.jsonl", "--engine", "ray", *server)
    assert ran.code == 78
    assert "pip install 'batcher[ray]'" in ran.err
    assert not (desk.path / "out.jsonl").exists()
