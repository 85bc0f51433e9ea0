"""The protocol's tensors: JSON or binary data <-> numpy arrays. Every size is checked before anything is made of it."""

import json
import math
import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidRequest, NotAcceptable, TooLarge
from service.inference.contract.datatypes import DTYPES, of_dtype
from service.inference.inputs.instances import flattened

Array = NDArray[Any]

VALUES_AT_A_TIME = 65_536
MOST_TEXTS = 2_000_000

_ENCODED_IN_JSON: dict[str, tuple[set[type], str]] = {
    "b": ({bool}, "true and false"),
    "u": ({int}, "whole numbers"),
    "i": ({int}, "whole numbers"),
    "f": ({int, float}, "numbers"),
    "O": ({str}, "strings"),
}


def from_json(data: object, datatype: str, shape: Sequence[int]) -> Array:
    """An array of `shape` from JSON values, nested as the shape says or flat, in row-major order.

    Raises InvalidRequest for another shape, and for values that `datatype` does not have: nothing is rounded to a whole
    number, no number is a boolean, none is out of range. FP16 has no form in JSON.
    """
    if datatype == "FP16":
        raise InvalidRequest("FP16 has no form in JSON; send it as binary data")
    values = _flat(data, shape)
    dtype = DTYPES[datatype]
    types, words = _ENCODED_IN_JSON[dtype.kind]
    if strange := set(map(type, values)) - types:
        raise InvalidRequest(f"{datatype} data are {words}, not {', '.join(sorted(map(_in_json, strange)))}")
    return _array(values, datatype).reshape(shape)


def _flat(data: object, shape: Sequence[int]) -> list[Any]:
    """The values in row-major order; exactly as many as the shape has."""
    if not isinstance(data, list):
        raise InvalidRequest(f"data are an array, not {_in_json(type(data))}")
    if not any(isinstance(item, list) for item in data):
        if len(data) != math.prod(shape):
            raise InvalidRequest(f"{len(data)} values of data do not fill the shape {_short(shape)}")
        return data
    if (values := flattened(data, shape)) is None:
        raise InvalidRequest(f"the nested data have not the shape {_short(shape)}")
    return values


def _array(values: list[Any], datatype: str) -> Array:
    dtype = DTYPES[datatype]
    if datatype == "BYTES":
        return _texts(values)
    try:
        if dtype.kind != "f":
            return np.array(values, dtype)
        with np.errstate(over="ignore"):
            array = np.array(values, np.float64).astype(dtype)
    except OverflowError as error:
        raise InvalidRequest(f"a value is out of range for {datatype}") from error
    if not np.isfinite(array).all():  # JSON has no infinity, so it was a number that is too large
        raise InvalidRequest(f"a value is out of range for {datatype}")
    return array


def _texts(values: list[str]) -> Array:
    array = np.empty(len(values), np.object_)
    array[:] = values
    try:
        "".join(values).encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest("a string of the data is no text: it holds half of a surrogate pair") from error
    return array


def from_binary(data: memoryview, datatype: str, shape: Sequence[int]) -> Array:
    """An array of `shape` from its values in row-major order, little-endian, without gaps.

    An element of BYTES is its length, as four bytes, and then UTF-8. Raises InvalidRequest for any other number of
    bytes, lengths that do not add up, bytes that are no text, and truth values other than 0 and 1; TooLarge.
    """
    if datatype == "BYTES":
        return _texts(_unpacked(data, math.prod(shape))).reshape(shape)
    dtype = DTYPES[datatype]
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise InvalidRequest(f"{len(data)} bytes do not fill {datatype} data of shape {_short(shape)}")
    if datatype == "BOOL" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
        raise InvalidRequest("BOOL data are bytes of 0 or 1")
    # A copy, as the body may hold it at an address that is not a multiple of the item's size.
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def _unpacked(data: memoryview, count: int) -> list[str]:
    if len(data) < 4 * count:
        raise InvalidRequest(f"{len(data)} bytes cannot hold {count} elements of BYTES")
    if count > MOST_TEXTS:
        raise TooLarge(f"{count} elements of BYTES are more than the limit of {MOST_TEXTS}")
    texts, offset = [], 0
    for number in range(count):
        start = offset + 4
        length = int.from_bytes(data[offset:start], "little")
        offset = start + length
        if offset > len(data):
            raise InvalidRequest(f"element {number} of BYTES data ends behind them: {length} bytes from byte {start}")
        texts.append(text_of(data[start:offset]))
    if offset != len(data):
        raise InvalidRequest(f"{len(data) - offset} bytes are left behind {count} elements of BYTES")
    return texts


def text_of(data: memoryview) -> str:
    """One element of BYTES. Raises InvalidRequest where it is no UTF-8."""
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"an element of BYTES is not UTF-8, and onnxruntime takes only text: {error}") from error


def to_json(name: str, array: Array, max_bytes: int) -> bytes:
    """A flat JSON array of the values. Raises InvalidRequest for what JSON cannot say: FP16, NaN, infinity; TooLarge.

    Written piece by piece, so that a large tensor is never a list of Python objects as a whole.
    """
    if array.dtype == np.float16:
        raise InvalidRequest(f"output {name[:200]!r} is FP16, which has no form in JSON; ask for binary_data")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidRequest(f"output {name[:200]!r} holds NaN or infinity, which JSON cannot say; ask for binary_data")
    pieces, size = [], 0
    for piece in _pieces(array.ravel()):
        pieces.append(piece)
        size += len(piece) + 1
        check_answer_size(size, max_bytes)
    return b"[" + b",".join(pieces) + b"]"


def _pieces(flat: Array) -> Iterator[bytes]:
    for start in range(0, flat.size, VALUES_AT_A_TIME):
        values = flat[start : start + VALUES_AT_A_TIME].tolist()
        yield json.dumps(values, separators=(",", ":")).encode()[1:-1]


def to_binary(array: Array) -> bytes:
    """The values in row-major order, as `from_binary` reads them."""
    if array.dtype.kind != "O":
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    texts = [text.encode() for text in array.ravel()]
    return b"".join(chain.from_iterable((struct.pack("<I", len(text)), text) for text in texts))


def binary_size(array: Array) -> int:
    """How many bytes `to_binary` gives, at least."""
    return 4 * array.size if array.dtype.kind == "O" else array.nbytes


def check_answer_size(size: int, max_bytes: int) -> None:
    """Raises TooLarge for an answer of more than `max_bytes`."""
    if size > max_bytes:
        raise TooLarge(f"the answer has at least {size} bytes, the limit is {max_bytes}: ask for fewer outputs or rows")


def output_datatype(name: str, value: object) -> str:
    """The protocol's name for the type of an output. Raises NotAcceptable for one that it cannot say."""
    datatype = of_dtype(value.dtype) if isinstance(value, np.ndarray) else None
    if datatype is None:
        raise NotAcceptable(f"output {name[:200]!r} is no tensor of a type that the protocol has")
    return datatype


def _in_json(kind: type) -> str:
    names = {list: "arrays", dict: "objects", str: "strings", bool: "booleans", type(None): "null"}
    return names.get(kind, "fractions" if kind is float else "whole numbers")


def _short(shape: Sequence[int]) -> str:
    """A shape, for a sentence; the client may have sent a very long one."""
    return f"[{', '.join(map(str, shape))[:200]}]"
