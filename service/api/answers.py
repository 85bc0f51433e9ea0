"""What an answer may look like: which of the forms the client accepts, and JSON that any parser reads."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi import Request, Response
from pydantic_core import to_json

from service.errors import InvalidRequest, NotAcceptable, TooLarge
from service.inference.graph.layers import Graph

JSON = "application/json"
NPZ = "application/x-npz"
PNG = "image/png"
BYTES_PER_VALUE = 4


def json_answer(payload: Mapping[str, Any], max_bytes: int) -> Response:
    """`payload` as JSON. Raises InvalidRequest where it holds NaN or infinity, which JSON cannot say, and TooLarge."""
    return sized(_json(payload), JSON, max_bytes)


def json_list_answer(head: Mapping[str, Any], key: str, items: Iterable[Mapping[str, Any]], max_bytes: int) -> Response:
    """`head` and, under `key`, a list that is encoded item by item.

    It stops at the first item too many, and a thread that encodes a long list lets others have their turn. Raises what
    `json_answer` raises.
    """
    pieces = [_json(head)[:-1] + f',"{key}":['.encode()]
    size = len(pieces[0])
    for item in items:
        pieces.append(_json(item))
        size += len(pieces[-1]) + 1
        if size > max_bytes:
            raise _too_large(f"more than {max_bytes}", max_bytes)
    return sized(pieces[0] + b",".join(pieces[1:]) + b"]}", JSON, max_bytes)


def _json(payload: Mapping[str, Any]) -> bytes:
    encoded = to_json(payload, inf_nan_mode="constants")  # several times faster than json.dumps
    if _mentions(encoded, b"NaN") or _mentions(encoded, b"Infinity"):  # in a number, or in somebody's label
        try:
            return json.dumps(payload, allow_nan=False, separators=(",", ":")).encode()
        except ValueError as error:
            raise InvalidRequest("the answer holds NaN or infinity, which JSON cannot say; binary forms can") from error
    return encoded


def _mentions(encoded: bytes, word: bytes) -> bool:
    """Whether `word` is in it; most answers lack even its first letter, and one letter is found 50 times faster."""
    return word[:1] in encoded and word in encoded


def sized(body: bytes, media_type: str, max_bytes: int) -> Response:
    """An answer of at most `max_bytes`. Raises TooLarge."""
    if len(body) > max_bytes:
        raise _too_large(str(len(body)), max_bytes)
    return Response(body, media_type=media_type)


def _too_large(size: str, limit: int) -> TooLarge:
    return TooLarge(f"the answer has {size} bytes, the limit is {limit}: ask for fewer pictures or layers")


def check_layers_fit(graph: Graph, layers: Sequence[str], count: int, max_bytes: int) -> None:
    """Refuse what would be too large before it is computed, as far as shapes are known then. Raises TooLarge."""
    shapes = [graph.rows[layer].shape for layer in layers if layer in graph.rows]
    numbers = sum(math.prod(length for length in shape if isinstance(length, int)) for shape in shapes if shape)
    if (size := numbers * count * BYTES_PER_VALUE) > max_bytes:
        raise TooLarge(
            f"{len(layers)} layers of {count} inputs take {size} bytes, the limit is {max_bytes}: "
            "ask for fewer layers or inputs at a time"
        )


async def accepts_json(request: Request) -> None:
    """Refuse a client that would not read JSON, at a door that has nothing else. Raises NotAcceptable."""
    acceptable(request, [JSON])


def acceptable(request: Request, offers: Sequence[str]) -> str:
    """The media type of `offers` that the client likes best, the first of equals (RFC 9110, section 12.5.1).

    Raises NotAcceptable when its Accept header admits none of them.
    """
    accepted = _ranges(", ".join(request.headers.getlist("accept")) or "*/*")
    quality = {offer: _quality(offer, accepted) for offer in offers}
    best = max(offers, key=lambda offer: quality[offer])
    if quality[best] <= 0:
        raise NotAcceptable(
            f"this door gives {', '.join(offers)}; the request accepts {request.headers['accept'][:200]}"
        )
    return best


def _ranges(header: str) -> dict[str, float]:
    """'text/*;q=0.5, image/png' -> {'text/*': 0.5, 'image/png': 1.0}"""
    ranges = {}
    for element in header.split(","):
        media_range, *parameters = (part.strip().lower() for part in element.split(";"))
        weights = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
        ranges[media_range] = _number(weights[0]) if weights else 1.0
    return ranges


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _quality(offer: str, ranges: Mapping[str, float]) -> float:
    """The weight of the most specific range that covers `offer`."""
    covering = (offer, f"{offer.split('/')[0]}/*", "*/*")
    return next((ranges[media_range] for media_range in covering if media_range in ranges), 0.0)
