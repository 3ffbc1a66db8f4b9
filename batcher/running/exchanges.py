"""What makes the exchanges of a run: this process, or workers elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from batcher.exchange.timeouts import Timeouts
from batcher.exchange.workers import Workers
from batcher.failures import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.exchange.seam import Exchanges
    from batcher.options import Options
    from batcher.servers.contact import Contact


def exchanges_for(options: Options, server: Contact, note: Callable[[str], object] = bool) -> Exchanges:
    """What makes the exchanges of a run: this process, or workers elsewhere, of whom is noted what befalls them."""
    if options.engine is None:
        return Workers(server.transport, timeouts_for(options), options.fail_on)
    return _cluster_for(options, server, note)


def _cluster_for(options: Options, server: Contact, note: Callable[[str], object]) -> Exchanges:
    """Workers. Raises ConfigError if keys would go to those of a cluster where anybody on the way can read them."""
    from batcher.exchange.cluster.cluster import FIRST_S, LEAST_S, Cluster
    from batcher.exchange.cluster.errand import Setup
    from batcher.exchange.cluster.placement import Foreman, Site

    connect_timeout, secure, ca_file, proxies = server.transport.settings
    has_secret = any(endpoint.headers for endpoint in server.endpoints) or any("@" in url for url in proxies.values())
    if has_secret and not (options.ray_address is None or options.local or options.allow_insecure):
        raise ConfigError(
            "--ray-address: keys would travel to workers on other machines over connections that are not encrypted, "
            "where anybody on the way can read them. Say --allow-insecure if the network is yours"
        )
    setup = Setup(
        timeouts=timeouts_for(options),
        connect_timeout=connect_timeout,
        secure=secure,
        proxies=proxies,
        raw=options.raw,
        local=bool(options.local),
        model=options.local.absolute() if isinstance(options.local, Path) else None,
        slots=server.slots or 1,
        threads=max(1, int(options.worker_cpus)),
    )
    site = Site(
        address=options.ray_address,
        cpus=options.worker_cpus,
        resources=options.worker_resources,
        size=options.places,
    )
    owned = tuple(endpoint.root for endpoint in server.endpoints) if options.local else ()
    return Cluster(
        Foreman(site),
        setup,
        options.places,
        fail_on=options.fail_on,
        ca_file=ca_file,
        owned=owned,
        note=note,
        first_within=FIRST_S if options.max_wait is None else max(options.max_wait, LEAST_S),
    )


def timeouts_for(options: Options) -> Timeouts:
    return Timeouts(
        first_token=options.first_token_timeout,
        idle=options.idle_timeout,
        total=options.timeout,
        min_speed=options.min_speed,
        runaway=options.runaway == "cut",
    )
