"""Says which shapes of job an endpoint takes, and refuses the others before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.failures import LineError
from batcher.model import Kind

if TYPE_CHECKING:
    from batcher.model import Job

SHAPES: Final[dict[Kind, str]] = {
    Kind.CHAT: '"messages"',
    Kind.GENERATE: '"prompt"',
    Kind.EMBED: '"input" to embed',
    Kind.RESPONSES: '"input" to respond to',
    Kind.IMAGE: '"prompt" for an image',
}


def require(job: Job, path: str, *kinds: Kind) -> None:
    """Raise LineError `endpoint_mismatch` unless the job is one of `kinds`."""
    if job.kind not in kinds:
        takes = " or ".join(SHAPES[kind] for kind in kinds)
        raise refusal(job, f"{path} takes {takes}, and this line has {SHAPES[job.kind]}")


def refusal(job: Job, what: str) -> LineError:
    """The error for a job that its endpoint cannot carry; `what` says why."""
    return LineError("endpoint_mismatch", f'{what}; change the line, its "url" or --endpoint', id=job.id)
