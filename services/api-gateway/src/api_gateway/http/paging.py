"""Keyset pagination: an opaque cursor holds the key of the last row sent, so a page is stable under inserts."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api_gateway.http.parameters import PageQuery, parse
from api_gateway.http.problems import wrong_parameter
from api_gateway.listings import Listing
from api_gateway.store import Key, Order, Page, Store

MAX_INT8 = 2**63 - 1


async def answer(request: Request, store: Store, listing: Listing, kind: type[PageQuery], **fixed: Any) -> Response:
    """One page of a listing: `{"items": [...], "next": path or null, "next_cursor": cursor or null}`.

    Every parameter of the query that is not about paging is a filter; `fixed` ones come from elsewhere.
    """
    query = parse(kind, request)
    filters = query.filters() | fixed
    after = decode_cursor(query.cursor, listing, query.order) if query.cursor else None
    page = await store.page(listing, filters, after=after, order=query.order, limit=query.limit)
    return Response(_body(request, listing, query, page), media_type="application/json")


def encode_cursor(listing: Listing, order: Order, key: Key) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode([listing.name, order, *key])).decode().rstrip("=")


def decode_cursor(cursor: str, listing: Listing, order: Order) -> Key:
    """The key in a cursor. Raises a 422 problem for a cursor that is not one of this list in this order."""
    try:
        parts = msgspec.msgpack.decode(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise wrong_parameter("cursor", "not a cursor of this API") from None
    if not isinstance(parts, list) or parts[:2] != [listing.name, order] or not _fits(parts[2:], listing):
        raise wrong_parameter("cursor", "belongs to another list or another order: start again without it")
    return tuple(parts[2:])


def _fits(key: list[Any], listing: Listing) -> bool:
    kinds = [kind for _, kind in listing.key]
    return len(key) == len(kinds) and all(map(_is_value, key, kinds))


def _is_value(value: Any, kind: type) -> bool:
    """Whether a cursor's value can be compared with its column: it comes from outside."""
    if isinstance(value, str):
        return kind is str and "\0" not in value
    return kind is int and type(value) is int and 0 <= value <= MAX_INT8


def _body(request: Request, listing: Listing, query: PageQuery, page: Page) -> bytes:
    """Written by hand: the items are JSON already."""
    cursor = encode_cursor(listing, query.order, page.next_key) if page.next_key else None
    link = f"{request.url.path}?{urlencode({**request.query_params, 'cursor': cursor})}" if cursor else None
    tail = msgspec.json.encode({"next": link, "next_cursor": cursor})
    return b'{"items":[' + ",".join(page.items).encode() + b"]," + tail[1:]
