"""Every decision's reason: the value in the event, the label of the metric, the word in the log."""

from __future__ import annotations

from enum import StrEnum


class Suppressed(StrEnum):
    """Why a subscriber is not told of an alert."""

    # the rule rings for nobody
    RULE_EXPIRED = "rule_expired"
    OUTSIDE_HOURS = "outside_hours"
    ONCE = "once"
    SAME_CANDLE = "same_candle"
    TOO_OFTEN = "too_often"
    COOLDOWN = "cooldown"
    NOT_PUBLISHED = "not_published"
    # for nobody, or not for this one
    SILENCED = "silenced"
    # not for this one
    UNKNOWN_SUBSCRIBER = "unknown_subscriber"
    SUBSCRIBER_DISABLED = "subscriber_disabled"
    MUTED = "muted"
    SEVERITY_OFF = "severity_off"
    KIND_OFF = "kind_off"
    QUIET_HOURS = "quiet_hours"
    NO_DESTINATION = "no_destination"
    NO_CHANNEL = "no_channel"
    NOT_VERIFIED = "not_verified"
    UNSUBSCRIBED = "unsubscribed"
    QUOTA = "quota"


class Refused(StrEnum):
    """Why somebody's wish to see or change something is refused."""

    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    CONFLICT = "conflict"
    INVALID = "invalid"
    TOO_MANY = "too_many"


class Unconfirmed(StrEnum):
    """Why a destination is not asked to confirm, does not count as confirmed, or is not unsubscribed."""

    NO_DESTINATION = "no_destination"
    UNSUBSCRIBED = "unsubscribed"
    NOT_VERIFIABLE = "not_verifiable"
    CHANNEL_NOT_CONFIGURED = "channel_not_configured"
    ASKED_TOO_OFTEN = "asked_too_often"
    UNKNOWN_CODE = "unknown_code"
    UNKNOWN_LINK = "unknown_link"
    ADDRESS_CHANGED = "address_changed"
    WRONG_CHANNEL = "wrong_channel"


class NoPicture(StrEnum):
    """Why an alert of a signal went without its picture."""

    NO_CANDLES = "no_candles"
    LATE = "late"
    BUSY = "busy"
    NOT_DRAWN = "not_drawn"


class Undelivered(StrEnum):
    """Why a delivery was retried, or ended otherwise than sent."""

    # decided by the sender
    CHANNEL_NOT_CONFIGURED = "channel_not_configured"
    DESTINATION_GONE = "destination_gone"
    NOT_VERIFIED = "not_verified"
    UNSUBSCRIBED = "unsubscribed"
    DEADLINE = "deadline"
    LATE = "late"
    INTERRUPTED = "interrupted"
    CHANNEL_BUG = "channel_bug"
    # passing: the receiver may take it later
    RATE_LIMITED = "rate_limited"
    CIRCUIT_OPEN = "circuit_open"
    SERVER_ERROR = "server_error"
    CONNECTION_FAILED = "connection_failed"
    # ambiguous: the receiver may have taken it
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    BAD_REPLY = "bad_reply"
    # final: the receiver will never take it
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    GONE = "gone"
    REFUSED = "refused"
    REDIRECTED = "redirected"
    BAD_ADDRESS = "bad_address"
    FORBIDDEN_ADDRESS = "forbidden_address"
    BAD_SECRET = "bad_secret"
    WRONG_ANSWER = "wrong_answer"
    TLS_UNAVAILABLE = "tls_unavailable"
    CONSOLE_OFF = "console_off"
