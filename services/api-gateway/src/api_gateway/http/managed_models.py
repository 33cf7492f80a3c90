"""What the OpenAPI document says of answers about rules, subscribers, silences and deliveries."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from tocsin_common.events import ChannelName, DeliveryState


class ListedDocument(BaseModel):
    id: str
    revision: int = Field(description="Which writing this is; the ETag of the document.")
    document: dict[str, Any] = Field(description="A subscriber's destinations have no address, but a hint of it.")


class DocumentPage(BaseModel):
    items: list[ListedDocument]
    next: str | None = Field(description="Path of the next page, or null.")
    next_cursor: str | None


class OpenedDelivery(BaseModel):
    delivery_id: str
    channel: ChannelName


class Opened(BaseModel):
    alert_id: str
    deliveries: list[OpenedDelivery]


class LedgerEntry(BaseModel):
    seq: int = Field(description="Its place on the stream DELIVERIES.")
    delivery_id: str
    alert_id: str
    subscriber_id: str
    channel: ChannelName
    state: DeliveryState
    attempt: int
    at_ms: int
    reason: str
    provider_ref: str


class DeliveryLog(BaseModel):
    items: list[LedgerEntry]
    next_before: int | None


class Evidence(BaseModel):
    stream: str
    seq: int
    stored_ms: int
    event: dict[str, Any]


class Verdict(BaseModel):
    subscriber_id: str | None = Field(description="Null: nobody in particular.")
    rule_id: str
    alert_id: str
    outcome: Literal["sent", "not_sent", "under_way", "uncertain", "no_match"]
    sentence: str
    evidence: list[Evidence]


class WhyAnswer(BaseModel):
    id: str
    about: str
    verdicts: list[Verdict]
