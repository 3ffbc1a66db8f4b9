"""What a run may ask of each server at once and in a minute, and for how long it puts up with one that is away."""

from __future__ import annotations

import resource
from functools import partial
from typing import TYPE_CHECKING, Final

from batcher.failures import ConfigError
from batcher.figures import AUTO, Concurrency
from batcher.model import Api
from batcher.policy.breaker import Breaker
from batcher.policy.lane import Lane
from batcher.policy.limit.concurrency import START, AdaptiveLimit
from batcher.policy.limit.fixed import FixedLimit
from batcher.policy.pace.estimate import counts_in_full
from batcher.policy.pace.pacing import Pacing
from batcher.running.openfiles import raise_to
from batcher.servers.settling import FIRST_PATIENCE, PATIENCE
from batcher.servers.urls import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.model import Endpoint
    from batcher.options import Options
    from batcher.policy.limit.fixed import Limit
    from batcher.running.sharing import Pool
    from batcher.servers.contact import Contact

HOSTED_START: Final = 8
"""Calls that a hosted server gets at first."""
SPARE_FILES: Final = 32
"""Open files that are not connections."""


def lane_for(
    endpoint: Endpoint, options: Options, concurrency: Concurrency, pool: Pool | None, wake: Callable[[], object]
) -> Lane:
    """The lane of one server, `concurrency` wide. With a `pool` it shares limit and pacing with other runs, and `wake`
    is called when it may send again.
    """
    limit, pacing = partial(limit_for, concurrency, endpoint), partial(_pacing, options, endpoint)
    if pool is not None:
        return pool.lane(endpoint, _breaker(options), limit, pacing, wake)
    return Lane(endpoint, limit(), _breaker(options), pacing())


def concurrency_for(options: Options, server: Contact) -> Concurrency:
    """How many calls each server gets at once. Raises ConfigError if the system does not allow so many connections."""
    wanted = options.concurrency
    if wanted == AUTO and server.slots is not None:  # it says itself how many it works on
        wanted = Concurrency(server.slots, server.slots)
    if options.engine is not None:
        return wanted  # the connections are those of its workers
    return _affordable(wanted, len(server.endpoints))


def limit_for(wanted: Concurrency, endpoint: Endpoint) -> Limit:
    """The limit of one server: found out unless it is fixed. One nearby may have one slot, hosted ones have many."""
    if wanted.least == wanted.most:
        return FixedLimit(wanted.most)
    is_small = endpoint.api is Api.NATIVE or is_loopback(endpoint.root)
    return AdaptiveLimit(wanted.least, wanted.most, START if is_small else HOSTED_START)


def _pacing(options: Options, endpoint: Endpoint) -> Pacing:
    return Pacing(options.rpm, options.tpm, in_full=counts_in_full(endpoint.root))


def _breaker(options: Options) -> Breaker:
    if options.max_wait is None:
        return Breaker(patience=PATIENCE, first_patience=FIRST_PATIENCE)
    return Breaker(patience=options.max_wait, first_patience=options.max_wait)


def _affordable(wanted: Concurrency, servers: int) -> Concurrency:
    """Raise the limit of open files for this many connections; what may be found out is found out within it.

    Raises ConfigError if the system does not allow the least.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = servers * wanted.most + SPARE_FILES
    if soft == resource.RLIM_INFINITY or files <= soft:
        return wanted
    if hard != resource.RLIM_INFINITY and hard < files:
        files, most = hard, (hard - SPARE_FILES) // servers
        if most < wanted.least:
            raise ConfigError(
                f"-c {wanted} needs {servers * wanted.least + SPARE_FILES} open files and the system allows {hard}: "
                "lower -c or raise ulimit -n"
            )
        wanted = Concurrency(wanted.least, most)
    raise_to(files)
    return wanted
