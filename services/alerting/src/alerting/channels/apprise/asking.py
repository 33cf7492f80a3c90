"""Requests of Apprise's services, made by us: checked, bounded and remembered.

Services are given `Requests` in the place of the library `requests`. Each request goes to an address that is public by
the same rules as a webhook's (Apprise's own `HTTPPolicySession` connects to the very address that was checked), follows
no redirect, takes no proxy from the environment, reads a bounded answer and ends in time.
"""

from __future__ import annotations

import time
from ipaddress import ip_address
from typing import Any

import requests
from apprise.utils.http import HTTPPolicy, HTTPPolicySession
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from yarl import URL

from alerting.channels.apprise.exchange import IN_HAND, Exchange
from alerting.channels.http import ANSWER_BYTES_MAX, PUBLIC_PORTS, is_public

CONNECT_S = 5.0
CHUNK_BYTES = 8_192

METHODS = frozenset({"delete", "get", "post", "put"})
PASSED_ON = frozenset({"RequestException", "TooManyRedirects", "codes"})
"""What services use of the library beside its requests. Its sessions are not among it."""


class Requests:
    """Stands where a service expects the library. Whatever is not named here is not there."""

    def __getattr__(self, name: str) -> Any:
        if name in METHODS:
            return lambda url, **given: self.request(name, url, **given)
        if name in PASSED_ON:
            return getattr(requests, name)
        raise AttributeError(name)

    def request(self, method: str, url: str, **given: Any) -> requests.Response:
        """As the library does it, within the exchange in hand."""
        exchange = IN_HAND.get(None)
        left_s = exchange.left_s() if exchange else 0.0
        if exchange is None or not left_s:  # some services say goodbye when nothing is in hand any more
            raise requests.ConnectTimeout("there may be no more requests for this message")
        given |= {"timeout": (min(CONNECT_S, left_s), left_s), "allow_redirects": False, "stream": True}
        try:
            with HTTPPolicySession(_policy(exchange)) as session:
                response = session.request(method, url, **given)
                _read(response, exchange.deadline_s)
        except requests.RequestException as error:
            _note(error, exchange)
            raise
        exchange.answers.append((response.status_code, response.headers))
        return response


def _policy(exchange: Exchange) -> HTTPPolicy:
    def is_allowed(url: str) -> bool:
        target = URL(url)
        fine = exchange.private or (target.scheme == "https" and target.port in PUBLIC_PORTS)
        exchange.forbidden |= not fine
        return fine

    def leads_outside(address: str) -> bool:
        fine = exchange.private or is_public(ip_address(address.partition("%")[0]))
        exchange.forbidden |= not fine
        return fine

    return HTTPPolicy(is_allowed, leads_outside)


def _read(response: requests.Response, deadline_s: float) -> None:
    """Keep the beginning of the body where the library keeps all of it."""
    body = bytearray()
    for chunk in response.iter_content(CHUNK_BYTES):
        body += chunk
        if len(body) >= ANSWER_BYTES_MAX:
            break
        if time.monotonic() > deadline_s:
            raise requests.ReadTimeout("the answer does not end")
    vars(response).update(_content=bytes(body[:ANSWER_BYTES_MAX]), _content_consumed=True)
    response.close()


def _note(error: requests.RequestException, exchange: Exchange) -> None:
    """Remember whether the request may have arrived."""
    reasons = [getattr(one, "reason", one) for one in error.args]
    unsent = isinstance(error, requests.ConnectTimeout | requests.exceptions.SSLError | requests.exceptions.InvalidURL)
    if unsent or any(isinstance(reason, NewConnectionError | ConnectTimeoutError) for reason in reasons):
        exchange.unsent = True
        return
    exchange.unanswered = True
    exchange.late |= isinstance(error, requests.Timeout) or time.monotonic() >= exchange.deadline_s
