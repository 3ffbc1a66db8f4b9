"""What one server is asked for, models behind paths, and what of that it lacks. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.failures import Failure, Scope
from batcher.policy.service import Service

if TYPE_CHECKING:
    from batcher.model import Call


@dataclass(slots=True, eq=False)
class Offer:
    """`patience` and `first_patience` are those of each service, in seconds."""

    patience: float
    first_patience: float
    services: dict[tuple[str | None, str], Service] = field(default_factory=dict)
    """By model and path."""
    missing_paths: dict[str, Failure] = field(default_factory=dict)
    is_partial: bool = False
    """There is something that it lacks."""
    is_troubled: bool = False
    """Something fails there, or is held; else nobody need look which service a call asks for."""
    _last: tuple[str | None, str, Service] | None = None
    """The service that was asked for last: calls of one follow each other."""

    def service(self, call: Call) -> Service:
        """What the call asks for."""
        last = self._last
        if last is not None and last[1] == call.path and last[0] == call.model:
            return last[2]
        key = (call.model, call.path)
        service = self.services.get(key)
        if service is None:
            service = Service(self.patience, self.first_patience)
            self.services[key] = service
        self._last = (call.model, call.path, service)
        return service

    def recovers(self) -> None:
        """Something was served: nothing else may fail any more."""
        self.is_troubled = any(one.is_held or one.since < math.inf for one in self.services.values())

    def lacks(self, call: Call) -> bool:
        """Whether the server does not have what the call asks for."""
        return self.is_partial and (self.service(call).lacking is not None or call.path in self.missing_paths)

    def serves_others(self, service: Service) -> bool:
        """Whether it has served something else since this one fails."""
        return any(
            one is not service and one.ever_served and one.served_at >= service.since for one in self.services.values()
        )

    def has_others(self, service: Service, now: float) -> bool:
        """Whether it is asked for something else that is not given up."""
        return any(
            one is not service and one.lacking is None and not one.gives_up(now) for one in self.services.values()
        )

    @property
    def ever_served(self) -> bool:
        """Whether it has served anything."""
        return any(service.ever_served for service in self.services.values())

    @property
    def is_waiting(self) -> bool:
        """Whether nothing of it is served for now, as all that was asked for is held."""
        asked = [service for service in self.services.values() if service.lacking is None]
        return any(one.is_held for one in asked) and all(one.is_held or one.is_unknown for one in asked)

    def opens(self) -> float:
        """When the first of what is held opens; infinity while a probe is out. Something must be held."""
        return min(service.opens() for service in self.services.values() if service.is_held)

    def goes_down(self, now: float) -> None:
        """Nobody is there any more."""
        for service in self.services.values():
            service.goes_down(now)

    def begins(self) -> None:
        """It has served something for the first time: how often it broke down before tells nothing of what else it has.

        How long that may fail is counted anew, unless it is held.
        """
        for service in self.services.values():
            service.begins()

    def acquits(self) -> None:
        """Whatever was held may go."""
        for service in self.services.values():
            service.acquit()

    def refuses(self, call: Call, failure: Failure) -> None:
        """The server will not serve this model behind this path, or nothing behind it."""
        if failure.scope is Scope.PATH and not any(
            one.ever_served for (_, path), one in self.services.items() if path == call.path
        ):
            self.missing_paths.setdefault(call.path, failure)
        else:
            self.service(call).lacking = failure
        self.is_partial = True

    def gives_out(self, call: Call, failure: Failure) -> None:
        """What the call asks for has failed there for too long."""
        self.service(call).lacking = failure
        self.is_partial = True

    @property
    def refused(self) -> dict[tuple[Scope, str], Failure]:
        """Models and paths that the server does not have, or has failed for too long."""
        paths = {(Scope.PATH, path): why for path, why in self.missing_paths.items()}
        models = {
            (Scope.MODEL_ON_PATH, f"{model or ''} at {path}")
            if service.lacking.scope is Scope.MODEL_ON_PATH
            else (Scope.MODEL, model or ""): service.lacking
            for (model, path), service in self.services.items()
            if service.lacking is not None
        }
        return {**paths, **models}
