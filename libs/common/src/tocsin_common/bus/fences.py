"""Fences: how a stream refuses a writer whose time is over, and does not even know it.

A fence is a message of the stream itself, on a subject of its own. Its sequence goes with everything its owner
publishes (`Nats-Expected-Last-Subject-Sequence-Subject`), so the server compares and stores in one step. The next
owner raises a fence of its own before it reads what there is: afterwards nothing older can come in between.
"""

from __future__ import annotations

from tocsin_common import subjects
from tocsin_common.bus.protocol import Received
from tocsin_common.errors import Conflict
from tocsin_common.streams import Stream


def fence_subject(stream: Stream, part: int) -> str:
    """Where the fences of a part stand. Raises ValueError for a stream that has none."""
    if not stream.fenced:
        raise ValueError(f"the stream {stream.name} is not declared with fences")
    return subjects.fence(stream.name, part)


def refuse_older(subject: str, standing: Received | None, token: int) -> None:
    """Raise Conflict when the fence that stands is a newer writer's."""
    if standing is not None and int(standing.data) > token:
        raise Conflict(
            f"{subject}: a newer writer's fence stands (token {int(standing.data)}, ours is {token});"
            " if the bucket leases was made anew since, purge the subjects fence.> of the stream"
        )
