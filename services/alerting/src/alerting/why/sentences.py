"""What was decided and what happened, in sentences. Pure: made of what is stored, and of what is set now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from alerting.hours import within
from alerting.reasons import Suppressed, Undelivered
from alerting.wording import moment
from tocsin_common.documents import Hours, Rule, Silence, Subscriber
from tocsin_common.events import AlertSuppressed, AsideReason, DeliveryChanged
from tocsin_common.requests.management import Outcome


@dataclass(frozen=True, slots=True)
class Settings:
    """What is set now, where it is there: a decision may have been made by what was set before."""

    rule: Rule | None
    subscriber: Subscriber | None
    silence: Silence | None


ASIDE: dict[AsideReason, str] = {
    "late": "it would have come late",
    "hourly": "such alerts come every hour",
    "daily": "such alerts come every day",
    "grouped": "it came with others like it",
}
UNDELIVERED = {
    Undelivered.CHANNEL_NOT_CONFIGURED: "the channel is not configured",
    Undelivered.DESTINATION_GONE: "the destination was removed, or the subscriber switched off",
    Undelivered.NOT_VERIFIED: "nobody has confirmed the destination",
    Undelivered.UNSUBSCRIBED: "its reader has unsubscribed",
    Undelivered.DEADLINE: "it was too late",
    Undelivered.LATE: "it would have come late",
    Undelivered.INTERRUPTED: "the process ended during the request",
    Undelivered.CHANNEL_BUG: "the channel failed",
    Undelivered.RATE_LIMITED: "it was rate limited",
    Undelivered.CIRCUIT_OPEN: "its receiver had failed too often and was left alone for a while",
    Undelivered.SERVER_ERROR: "the server had an error",
    Undelivered.CONNECTION_FAILED: "the server was not reached",
    Undelivered.TIMEOUT: "no answer came in time",
    Undelivered.CONNECTION_LOST: "the connection broke",
    Undelivered.BAD_REPLY: "the answer made no sense",
    Undelivered.UNAUTHORIZED: "our credentials were refused",
    Undelivered.FORBIDDEN: "we were blocked",
    Undelivered.GONE: "the destination is gone",
    Undelivered.REFUSED: "the message was refused",
    Undelivered.REDIRECTED: "the server sent us elsewhere",
    Undelivered.BAD_ADDRESS: "the address is wrong",
    Undelivered.FORBIDDEN_ADDRESS: "the address leads where nothing is sent",
    Undelivered.BAD_SECRET: "the secret is wrong",
    Undelivered.TLS_UNAVAILABLE: "the server offers no encryption",
    Undelivered.WRONG_ANSWER: "the receiver did not prove that it wants this",
    Undelivered.CONSOLE_OFF: "the console is switched off",
}
WORDS: dict[str, str] = {str(reason): text for reason, text in (*ASIDE.items(), *UNDELIVERED.items())}
"""What stands in the ledger as a reason, in words."""


def of_suppression(event: AlertSuppressed, who: str, now: Settings) -> str:
    """For example: `Not sent to ann: quiet hours, 22:00-07:00 Europe/Berlin; it was 23:10, and info does not wake.`"""
    return f"Not sent to {who}: {_why_spared(event, now)}."


def _why_spared(event: AlertSuppressed, now: Settings) -> str:
    rule, subscriber = now.rule, now.subscriber
    severity = rule.severity if rule else "its severity"
    match event.reason:
        case Suppressed.RULE_EXPIRED:
            return "the rule was over" + (f", since {moment(rule.expires_ms)}" if rule and rule.expires_ms else "")
        case Suppressed.OUTSIDE_HOURS:
            return "outside the rule's active hours" + _hours(
                rule.active_hours if rule else None, event.ts_ms, inside=False
            )
        case Suppressed.ONCE:
            return "the rule rings once, and did so on this instrument before"
        case Suppressed.SAME_CANDLE:
            return "the rule had rung in this candle already"
        case Suppressed.TOO_OFTEN:
            limit = f" (every {rule.at_most_every_s} s at most)" if rule and rule.at_most_every_s else ""
            return f"the rule had rung on this instrument shortly before{limit}"
        case Suppressed.COOLDOWN:
            return "the rule was cooling down" + (f" ({rule.cooldown_s} s)" if rule and rule.cooldown_s else "")
        case Suppressed.SILENCED:
            return f"silenced by {event.silence_id!r}" + _until(now.silence)
        case Suppressed.UNKNOWN_SUBSCRIBER:
            return "the rule names somebody who is not a subscriber"
        case Suppressed.SUBSCRIBER_DISABLED:
            return "the subscriber is switched off"
        case Suppressed.MUTED:
            ends = subscriber.muted_until_ms if subscriber else 0
            return "everything was muted" + (f", until {moment(ends)}" if ends > event.ts_ms else "")
        case Suppressed.SEVERITY_OFF:
            return f"only some severities are wanted, not {severity}"
        case Suppressed.KIND_OFF:
            return "alerts of this kind are switched off"
        case Suppressed.QUIET_HOURS:
            hours = _hours(subscriber.quiet_hours if subscriber else None, event.ts_ms, inside=True)
            return f"quiet hours{hours}; {severity} does not wake"
        case Suppressed.NO_DESTINATION:
            return "there is no destination at all"
        case Suppressed.NO_CHANNEL:
            return "there is no destination on the channels of the rule"
        case Suppressed.NOT_VERIFIED:
            return "nobody has confirmed the destinations"
        case Suppressed.UNSUBSCRIBED:
            return "the readers of the destinations have unsubscribed"
        case Suppressed.NOT_PUBLISHED:
            return f"nobody publishes what the rule looks at; {event.detail}"
    return event.reason.replace("_", " ")


def _hours(hours: Hours | None, ts_ms: int, *, inside: bool) -> str:
    """The hours as they are set now, where they explain the decision."""
    if not hours or within(hours, ts_ms) != inside:
        return ", as they were set then"
    clock = datetime.fromtimestamp(ts_ms / 1000, ZoneInfo(hours.zone))
    days = f" on {', '.join(hours.days)}" if hours.days else ""
    return f" {hours.start}-{hours.end} {hours.zone}{days} (it was {clock:%a %H:%M})"


def _until(silence: Silence | None) -> str:
    return f", until {moment(silence.ends_ms)}" if silence else ""


def of_delivery(steps: Sequence[DeliveryChanged], began_ms: int, since: str) -> tuple[Outcome, str]:
    """How a delivery stands, that of its digest included. `began_ms` and `since`: what its time counts from.

    For example: `sent on telegram 0.4 s after the signal, at attempt 2, after it was rate limited`.
    """
    last = steps[-1]
    told_in = next((step for step in steps if step.state == "digested"), None)
    if told_in is not None and told_in is not last:
        own = [step for step in steps if step.delivery_id == last.delivery_id]
        outcome, text = of_delivery(own, began_ms, since)
        return outcome, f"put into a digest, because {_why_not(told_in.reason)}: {text}"
    troubles = [_why_not(step.reason) for step in steps if step.state == "retrying"]
    before = f", after {' and '.join(dict.fromkeys(troubles))}" if troubles else ""
    attempts = f", at attempt {last.attempt}" if last.attempt > 1 else ""
    match last.state:
        case "sent":
            took_s = max(0, last.at_ms - began_ms) / 1000
            return "sent", f"sent on {last.channel} {took_s:.1f} s after the {since}{attempts}{before}"
        case "failed" | "expired":
            tries = f" ({last.attempt} attempts)" if last.attempt > 1 else ""
            return "not_sent", f"not sent on {last.channel}: {_why_not(last.reason)}{tries}"
        case "unknown":
            return "uncertain", f"perhaps sent on {last.channel}: {_why_not(last.reason)}, and it is not repeated"
        case "retrying":
            return "under_way", f"waiting for another attempt on {last.channel}: {_why_not(last.reason)}"
        case "aside" | "digested":
            return "under_way", f"waiting for a digest on {last.channel}, because {_why_not(last.reason)}"
        case "attempting":
            return "under_way", f"being sent on {last.channel}{attempts}{before}"
    return "under_way", f"waiting to be sent on {last.channel}"


def _why_not(reason: str) -> str:
    return WORDS.get(reason) or reason.replace("_", " ")
