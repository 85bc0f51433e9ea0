"""JSON -> Python objects, strictly, and within bounds of memory and time."""

import json
from collections.abc import Callable
from typing import Any

from service.errors import InvalidRequest, TooLarge

# As Python objects, JSON takes up to twenty times its bytes, and nothing else happens in the process while it is read:
# these bound both. What is larger comes as binary data.
MOST_VALUES = 500_000
MOST_ARRAYS = 200_000
MOST_OBJECTS = 50_000


def _constant(name: str) -> None:
    raise InvalidRequest(f"{name} is no JSON; send NaN and infinity as binary data")


def read_object(
    text: bytes,
    *,
    form: str = '{"inputs": [...]}',
    instead: str = "send tensors flat, or as binary data",
    constant: Callable[[str], object] = _constant,
) -> dict[str, Any]:
    """The object that `text` is. Raises InvalidRequest for malformed JSON, TooLarge for more than anybody needs.

    Strict where Python is not: NaN and infinity are no JSON, and no object has a key twice. `form` is what the object
    should look like, `instead` what to do with more, `constant` what to make of NaN and infinity, by name.
    """
    if text.count(b",") >= MOST_VALUES or text.count(b"[") > MOST_ARRAYS or text.count(b"{") > MOST_OBJECTS:
        most = f"{MOST_VALUES} values, {MOST_ARRAYS} arrays or {MOST_OBJECTS} objects"
        raise TooLarge(f"JSON of more than {most}; {instead}")
    try:
        document = json.loads(text, object_pairs_hook=_object, parse_constant=constant)
    except RecursionError as error:
        raise InvalidRequest("malformed JSON: nested too deeply") from error
    except ValueError as error:  # also bytes that are no text, and numbers of thousands of digits
        raise InvalidRequest(f"malformed JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidRequest(f"the JSON is not an object: {form}")
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InvalidRequest("an object of the JSON has a key twice")
    return found
