"""What Discord says of its limits in every answer, and how long it asks us to wait.

https://discord.com/developers/docs/topics/rate-limits: the requests to one webhook share a bucket, whose headers say
how many more it takes and when it is full again. Too many are refused with 429: of this webhook, of us in all
(`global`), or by the guards before Discord, whose answer is not Discord's JSON and holds for our address.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from alerting.channels import HostBusy
from alerting.channels.http import RETRY_AFTER_MAX_S, Answer, judged, retry_after_s
from alerting.reasons import Undelivered
from tocsin_common.decoding import decode
from tocsin_common.errors import Malformed, Retryable


class _TooMany(msgspec.Struct):
    retry_after: float | None = None
    everybody: bool = msgspec.field(name="global", default=False)


def rest_s(headers: Mapping[str, str]) -> float:
    """How long the webhook takes nothing after this answer; 0: it takes more, or does not say."""
    if headers.get("X-RateLimit-Remaining", "").strip() != "0":
        return 0.0
    return _seconds(headers.get("X-RateLimit-Reset-After", "")) or 0.0


def obeyed(answer: Answer) -> None:
    """Return for a success; raise what any other answer of Discord's means."""
    if answer.status != 429:
        judged(answer)
        return
    headers = answer.headers
    try:
        told = decode(answer.body, _TooMany)
    except Malformed:
        told = _TooMany(everybody=True)
    everybody = told.everybody or _is_global(headers)
    wait_s = None if told.retry_after is None else _seconds(str(told.retry_after))
    if wait_s is None and not everybody:
        wait_s = _seconds(headers.get("X-RateLimit-Reset-After", ""))
    if wait_s is None:
        wait_s = retry_after_s(headers)
    kind = HostBusy if everybody else Retryable
    raise kind(Undelivered.RATE_LIMITED, "HTTP 429", retry_after_s=wait_s)


def _is_global(headers: Mapping[str, str]) -> bool:
    told = (headers.get("X-RateLimit-Global", ""), headers.get("X-RateLimit-Scope", ""))
    return told[0].strip().lower() == "true" or told[1].strip().lower() == "global"


def _seconds(text: str) -> float | None:
    """A time to wait; None: it is none."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), RETRY_AFTER_MAX_S)
