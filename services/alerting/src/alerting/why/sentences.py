"""What was decided and what happened, in sentences. Pure: made of what is stored, and of what is set now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from zoneinfo import ZoneInfo

from alerting.judging.hours import within
from alerting.reasons import Suppressed
from alerting.words.voice import Voice, texts
from tocsin_common.documents import DAYS, Hours, Rule, Silence, Subscriber
from tocsin_common.events import AlertSuppressed, DeliveryChanged
from tocsin_common.requests.management import Outcome


@dataclass(frozen=True, slots=True)
class Settings:
    """What is set now, where it is there: a decision may have been made by what was set before."""

    rule: Rule | None
    subscriber: Subscriber | None
    silence: Silence | None


def of_suppression(event: AlertSuppressed, name: str, now: Settings, voice: Voice) -> str:
    """For example: `Not sent to ann: quiet hours 22:00-07:00 Asia/Jakarta (it was Fri 23:00); info does not wake.`"""
    return voice.say("why.spared", name=name, reason=_because(event, now, voice))


def _because(event: AlertSuppressed, now: Settings, voice: Voice) -> str:
    """The reason in words, with what is set now where that explains it."""
    rule, subscriber, silence = now.rule, now.subscriber, now.silence
    severity = voice.say(f"severity.{rule.severity}").lower() if rule else voice.say("spared.its_severity")
    ends_ms = subscriber.muted_until_ms if subscriber else 0
    match event.reason:
        case Suppressed.RULE_EXPIRED if rule and rule.expires_ms:
            return voice.say("spared.rule_expired_since", moment=voice.moment(rule.expires_ms))
        case Suppressed.OUTSIDE_HOURS:
            hours = hours_at(rule.active_hours if rule else None, event.ts_ms, voice, inside=False)
            return voice.say("spared.outside_hours", hours=hours)
        case Suppressed.TOO_OFTEN if rule and rule.at_most_every_s:
            return voice.say("spared.too_often_limit", seconds=rule.at_most_every_s)
        case Suppressed.COOLDOWN if rule and rule.cooldown_s:
            return voice.say("spared.cooldown_limit", seconds=rule.cooldown_s)
        case Suppressed.SILENCED if silence:
            return voice.say("spared.silenced_until", silence=event.silence_id, moment=voice.moment(silence.ends_ms))
        case Suppressed.MUTED if ends_ms > event.ts_ms:
            return voice.say("spared.muted_until", moment=voice.moment(ends_ms))
        case Suppressed.QUIET_HOURS:
            hours = hours_at(subscriber.quiet_hours if subscriber else None, event.ts_ms, voice, inside=True)
            return voice.say("spared.quiet_hours", hours=hours, severity=severity)
    given = {"silence": event.silence_id, "severity": severity, "detail": event.detail}
    return _known(voice, "spared", event.reason, **given)


def hours_at(hours: Hours | None, ts_ms: int, voice: Voice, *, inside: bool) -> str:
    """The hours as they are set now, where they explain what was decided at a moment; to be put after a word."""
    if not hours or within(hours, ts_ms) != inside:
        return voice.say("hours.then")
    when = datetime.fromtimestamp(ts_ms / 1000, ZoneInfo(hours.zone))
    days = ", ".join(voice.say(f"day.{day}") for day in hours.days)
    given = {"start": hours.start, "end": hours.end, "zone": hours.zone, "days": days}
    day = voice.say(f"day.{DAYS[when.weekday()]}")
    return " " + voice.say("hours.days" if days else "hours.now", **given, day=day, clock=f"{when:%H:%M}")


def of_delivery(steps: Sequence[DeliveryChanged], began_ms: int, since: str, voice: Voice) -> tuple[Outcome, str]:
    """How a delivery stands, that of its digest included. `began_ms` and `since`: what its time counts from.

    For example: `sent on telegram 0.4 s after the signal, at attempt 2, after it was rate limited`.
    """
    last = steps[-1]
    told_in = next((step for step in steps if step.state == "digested"), None)
    if told_in is not None and told_in is not last:
        own = [step for step in steps if step.delivery_id == last.delivery_id]
        outcome, text = of_delivery(own, began_ms, since, voice)
        return outcome, voice.say("became.digested", reason=_why_not(told_in.reason, voice), became=text)
    given = {"channel": last.channel, "reason": _why_not(last.reason, voice), "since": since}
    given |= {"attempts": _attempts(last, voice), "troubles": _troubles(steps, voice)}
    match last.state:
        case "sent":
            return "sent", voice.say("became.sent", **given, seconds=f"{max(0, last.at_ms - began_ms) / 1000:.1f}")
        case "failed" | "expired" if last.attempt > 1:
            return "not_sent", voice.say("became.not_sent_after", **given | {"attempts": last.attempt})
        case "failed" | "expired":
            return "not_sent", voice.say("became.not_sent", **given)
        case "unknown":
            return "uncertain", voice.say("became.unknown", **given)
        case "digested":
            return "under_way", voice.say("became.aside", **given)
    return "under_way", voice.say(f"became.{last.state}", **given)


def _attempts(last: DeliveryChanged, voice: Voice) -> str:
    return voice.say("became.attempts", number=last.attempt) if last.attempt > 1 else ""


def _troubles(steps: Sequence[DeliveryChanged], voice: Voice) -> str:
    """What came before, each once."""
    found = list(dict.fromkeys(_why_not(step.reason, voice) for step in steps if step.state == "retrying"))
    both = reduce(lambda one, other: voice.say("became.both", one=one, other=other), found) if found else ""
    return voice.say("became.troubles", troubles=both) if both else ""


def _why_not(reason: str, voice: Voice) -> str:
    return _known(voice, "undelivered", reason)


def _known(voice: Voice, section: str, reason: str, **given: object) -> str:
    """A reason in words; one that is not known by its name."""
    key = f"{section}.{reason}"
    return voice.say(key, **given) if key in texts(voice.language) else reason.replace("_", " ")
