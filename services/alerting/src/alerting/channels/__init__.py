"""The channels: each takes a message to one destination, and either delivers it or says why not.

A channel knows nothing of rules, retries or the ledger. It delivers and says what the receiver said, or raises

- `Rejected(reason)`: this message will never be taken;
- `Retryable(reason, retry_after_s)`: it was not taken, but may be later (`HostBusy`: nor is any other there);
- `Ambiguous(reason)`: it may have been taken: the connection broke, or time ran out, after the request had gone out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from alerting.channels.text import one_line, shown
from alerting.words.voice import RECORD, Voice
from tocsin_common.documents import Destination
from tocsin_common.errors import Retryable
from tocsin_common.events import ChannelName

SHOW_PICTURES: frozenset[ChannelName] = frozenset({"telegram", "email"})
"""The channels that show the picture of a signal; the others never wait for one."""


class Ambiguous(Retryable):
    """No answer that can be believed: the receiver may or may not have taken the message."""


class HostBusy(Retryable):
    """Not the destination asks for patience but the host, for all destinations there."""


class Sent(NamedTuple):
    """A message was delivered. `reference` is the receiver's own id of it ("": it gave none); for `rest_s` from now the
    destination takes no other."""

    reference: str = ""
    rest_s: float = 0.0


class Action(NamedTuple):
    """A link and what it says."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Original:
    """A message that was sent to the same place before; `reference` is the receiver's id of it."""

    delivery_id: str
    reference: str


@dataclass(frozen=True, slots=True)
class Message:
    """What is delivered: plain text, which a channel escapes into its own markup. `ts_ms` is the market time.

    Whoever wrote it, title and fields are one line each, and nothing in them or the text acts on what stands around it
    (see `text.shown`); fields without a name or value are left out.

    `picture` is a PNG; it says nothing that the text does not say. `silent`: it should make no sound where it arrives.
    `voice` is how it was written, for what a channel adds, `subscriber_id` whom it was written to. `action`: what its
    reader is asked to do, and where. `answers`: it is news of what the original told.
    """

    delivery_id: str
    alert_id: str
    title: str
    text: str
    fields: Mapping[str, str]
    ts_ms: int
    picture: bytes | None = None
    silent: bool = False
    voice: Voice = RECORD
    subscriber_id: str = ""
    action: Action | None = None
    answers: Original | None = None

    def __post_init__(self) -> None:
        said = {one_line(name): one_line(value) for name, value in self.fields.items()}
        object.__setattr__(self, "title", one_line(self.title))
        object.__setattr__(self, "text", shown(self.text))
        object.__setattr__(self, "fields", {name: value for name, value in said.items() if name and value})


class Channel(Protocol):
    """One way to reach people. `dedupes`: a receiver recognises a second copy by our id."""

    dedupes: bool

    async def send(self, message: Message, destination: Destination) -> Sent:
        """Deliver.

        Raises Rejected, Retryable or Ambiguous, with a reason of `reasons.Undelivered`; never with an address, token
        or secret in the text.
        """
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
