"""The child process that has Ray start workers, until its parent (`placement.py`) hangs up.

It is told by lines of JSON, and tells by them. Ray is imported here and on the workers' machines alone.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from functools import partial
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import orjson

from batcher.exchange.cluster.errand import Errand
from batcher.exchange.cluster.remote import work
from batcher.redaction import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONNECT_S: Final = 5.0
"""For a first connection to the head: Ray itself would wait for a minute, and say little."""
STORE: Final = 80 * 1024 * 1024
"""Bytes of Ray's store of objects, of which none is used: the least that it takes."""
WORDS: Final = 500
"""Characters of what Ray says of a death."""
_ENVIRON: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",  # docs.ray.io/en/latest/cluster/usage-stats.html: nobody is told of runs
    "RAY_DEDUP_LOGS": "0",
    "RAY_enable_worker_prestart": "0",  # no process that nobody has asked for
    "RAY_prestart_worker_first_driver": "0",
}


_OWN: Final = {"GPU": "num_gpus", "memory": "memory"}
"""What Ray's own resources are called where it is told what a worker is to have; CPUs have an option of the run's."""


class Actor:
    """A worker, as Ray has it."""

    async def work(self, errand: Errand) -> str:
        return await work(errand)


class Voice:
    """Says one thing at a time, also from Ray's threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._descriptor = os.dup(1)
        os.dup2(2, 1)  # what Ray prints belongs to the log

    def say(self, **what: object) -> None:
        with self._lock:
            os.write(self._descriptor, orjson.dumps(what) + b"\n")


def main() -> None:
    voice = Voice()
    site = orjson.loads(sys.stdin.buffer.readline() or b"null")
    if site is None:
        return
    if find_spec("ray") is None:
        voice.say(missing="ray")
        return
    try:
        address = _reach(site)
    except Exception as error:  # noqa: BLE001 - whatever Ray raises is told to people
        voice.say(failed=_words(error))
        return
    voice.say(ready=address, lacks=lacking({"CPU": site["cpus"], **site["resources"]}, _machines()))
    _obey(site, voice)


def _reach(site: dict[str, Any]) -> str:
    """Start Ray here, or reach the one that is meant; returns the address of this machine as Ray has it."""
    os.environ |= _ENVIRON
    given = site["address"]
    if given is not None and given != "auto":
        host, _, port = given.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    import ray

    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    if given is None:
        os.environ.pop("RAY_ADDRESS", None)
        size, cpus = site["size"], site["cpus"]
        resources = {name: size * each for name, each in site["resources"].items() if name not in _OWN}
        ray.init(
            address="local",
            num_cpus=max(os.cpu_count() or 1, -int(-size * cpus // 1)),
            resources=resources,
            object_store_memory=STORE,
            **quiet,
        )
        return "127.0.0.1"
    ray.init(address=given, **{key: value for key, value in quiet.items() if key != "include_dashboard"})
    return str(ray.util.get_node_ip_address())


def _machines() -> list[dict[str, float]]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def lacking(wanted: Mapping[str, float], machines: Sequence[Mapping[str, float]]) -> str:
    """What a worker wants that no machine has, whatever else is at work there; empty if there is one for it."""
    if any(all(machine.get(name, 0) >= amount for name, amount in wanted.items()) for machine in machines):
        return ""
    most = {name: max((machine.get(name, 0) for machine in machines), default=0) for name in wanted}
    too_much = "; ".join(
        f"{name}={amount:g}, of which no machine has more than {most[name]:g}"
        for name, amount in wanted.items()
        if amount > most[name]
    )
    all_of_it = " and ".join(f"{name}={amount:g}" for name, amount in wanted.items())
    return f"a worker asks for {too_much or f'{all_of_it}, which no machine has together'}"


def _obey(site: dict[str, Any], voice: Voice) -> None:
    """Place and dismiss, as one is told, until nobody tells any more; then end all of them."""
    import ray

    made = ray.remote(Actor)
    others = {name: amount for name, amount in site["resources"].items() if name not in _OWN}
    own = {_OWN[name]: amount for name, amount in site["resources"].items() if name in _OWN}
    actors: dict[int, Any] = {}
    for line in sys.stdin.buffer:
        said = orjson.loads(line)
        if "place" in said:
            where = said["place"]
            number = where["number"]
            try:
                actor = actors[number] = made.options(
                    num_cpus=site["cpus"],
                    resources=others or None,
                    max_restarts=0,
                    scheduling_strategy="SPREAD",
                    **own,
                ).remote()
            except ValueError as error:
                voice.say(refused=_words(error))
                break
            errand = Errand(host=where["host"], port=where["port"], number=number, secret=Secret(where["secret"]))
            actor.work.remote(errand).future().add_done_callback(partial(_tell, voice, number))
        elif (actor := actors.pop(said["dismiss"], None)) is not None:
            ray.kill(actor)
    for actor in actors.values():
        ray.kill(actor)
    ray.shutdown()


def _tell(voice: Voice, number: int, future: Any) -> None:
    """A worker has ended, or died."""
    error = future.exception()
    voice.say(gone=number, words=_words(error) if error is not None else str(future.result())[:WORDS])


def _words(error: BaseException) -> str:
    """What an error of Ray's says, in one line: of those of its workers, the last one."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        error = cause
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (" ".join(lines) or type(error).__name__)[:WORDS]


if __name__ == "__main__":
    main()
