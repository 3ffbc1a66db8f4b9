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
from typing import Any, Final

import orjson

from batcher.exchange.cluster.errand import Errand
from batcher.exchange.cluster.remote import work
from batcher.redaction import Secret

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
    voice.say(ready=address)
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
        resources = {name: size * each for name, each in site["resources"].items() if name != "GPU"}
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


def _obey(site: dict[str, Any], voice: Voice) -> None:
    """Place and dismiss, as one is told, until nobody tells any more; then end all of them."""
    import ray

    others = dict(site["resources"])
    gpus = others.pop("GPU", 0)
    remote = ray.remote(Actor).options(
        num_cpus=site["cpus"], num_gpus=gpus, resources=others or None, max_restarts=0, scheduling_strategy="SPREAD"
    )
    actors: dict[int, Any] = {}
    for line in sys.stdin.buffer:
        said = orjson.loads(line)
        if "place" in said:
            where = said["place"]
            number = where["number"]
            actor = actors[number] = remote.remote()
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
