"""What a question is: its subject, who answers it, and the two types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

Q = TypeVar("Q", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)


@dataclass(frozen=True)
class Endpoint(Generic[Q, R]):
    """One kind of question. `group` names the service that answers: each question goes to one of its replicas."""

    subject: str
    group: str
    request: type[Q]
    reply: type[R]


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question. Keys that it does not have are refused."""
