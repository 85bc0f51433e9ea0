"""An inference request of the Open Inference Protocol: its body, JSON or JSON and binary data, as arrays by name."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.api.strict_json import read_object
from service.api.tensors import Array, from_binary, from_json, text_of
from service.errors import InvalidRequest
from service.inference.contract.datatypes import DTYPES
from service.inference.contract.signature import Signature, Tensor

# numpy has no arrays of more axes.
MOST_AXES = 64

LONGEST_DIGITS = 20


@dataclass(frozen=True)
class RequestedOutput:
    """One output that is asked for, as binary data or JSON; `classes`: only the best so many of each row, as text."""

    name: str
    binary: bool = False
    classes: int | None = None


@dataclass(frozen=True)
class InferenceRequest:
    """`outputs` empty: all that the model has, `binary` or not. `timeout` in seconds, where the client sets one."""

    inputs: Mapping[str, Array]
    outputs: Sequence[RequestedOutput] = ()
    id: str | None = None
    binary: bool = False
    timeout: float | None = None


def parse(body: bytes, header_length: str | None, signature: Signature) -> InferenceRequest:
    """What `body` asks for. `header_length` is the header Inference-Header-Content-Length: how much of it is JSON.

    A length of 0 is a raw request: the body is the data of the model's only input, and all outputs come as binary data.
    Raises InvalidRequest for whatever does not hold together, TooLarge for more JSON than anybody needs. The arrays are
    what the client says they are; whether they fit the model, `signature` is not asked here.
    """
    length = _header_length(header_length, len(body))
    if length == 0 and header_length is not None:
        return InferenceRequest(_raw(memoryview(body), signature), binary=True)
    document = read_object(body[:length])
    parameters = _parameters(document, "the request")
    binary = _flag(parameters, "binary_data_output", default=False)
    return InferenceRequest(
        inputs=_inputs(document, memoryview(body)[length:], needed=bool(signature.inputs)),
        outputs=_outputs(document, binary),
        id=_id(document),
        binary=binary,
        timeout=_timeout(parameters),
    )


def _header_length(header: str | None, body_length: int) -> int:
    if header is None:
        return body_length
    if not (header.isascii() and header.isdecimal() and len(header) <= LONGEST_DIGITS):
        raise InvalidRequest(f"Inference-Header-Content-Length is a number of bytes, not {header[:50]!r}")
    if int(header) > body_length:
        raise InvalidRequest(f"Inference-Header-Content-Length is {header}, the body has {body_length} bytes")
    return int(header)


def _id(document: Mapping[str, Any]) -> str | None:
    given = document.get("id")
    if given is not None and not isinstance(given, str):
        raise InvalidRequest("the id of a request is a string")
    return given


def _parameters(owner: Mapping[str, Any], called: str) -> Mapping[str, Any]:
    parameters = owner.get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidRequest(f"the parameters of {called} are an object")
    if any(name.startswith("shared_memory") for name in parameters):
        raise InvalidRequest(f"{called} is to lie in shared memory, which is not among the extensions of this server")
    return parameters


def _flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequest(f"the parameter {name} is true or false")
    return value


def _whole(parameters: Mapping[str, Any], name: str, *, least: int) -> int | None:
    value = parameters.get(name)
    if value is not None and (type(value) is not int or value < least):
        raise InvalidRequest(f"the parameter {name} is a whole number of at least {least}")
    return value


def _timeout(parameters: Mapping[str, Any]) -> float | None:
    """Seconds; None where the client leaves it out or says 0."""
    microseconds = _whole(parameters, "timeout", least=0)
    return min(microseconds, 2**63) / 1e6 if microseconds else None


def _inputs(document: Mapping[str, Any], data: memoryview, *, needed: bool) -> dict[str, Array]:
    inputs: dict[str, Array] = {}
    offset = 0
    for name, entry in _named(document, "inputs"):
        array, taken = _input(name, entry, data[offset:])
        inputs[name] = array
        offset += taken
    if needed and not inputs:
        raise InvalidRequest("the request has no inputs")
    if offset != len(data):
        raise InvalidRequest(f"{len(data) - offset} bytes of binary data belong to no input")
    return inputs


def _named(document: Mapping[str, Any], kind: str) -> list[tuple[str, dict[str, Any]]]:
    """The objects of an array, each with its name; none twice."""
    entries = document.get(kind, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidRequest(f"{kind} is an array of objects")
    seen: dict[str, dict[str, Any]] = {}
    for entry in entries:
        name = entry.get("name")
        if not isinstance(name, str):
            raise InvalidRequest(f"one of the {kind} has no name")
        if name in seen:
            raise InvalidRequest(f"{name[:200]!r} is twice among the {kind}")
        seen[name] = entry
    return list(seen.items())


def _input(name: str, entry: Mapping[str, Any], data: memoryview) -> tuple[Array, int]:
    """One input, and how much of the binary `data` it took."""
    called = f"input {name[:200]!r}"
    shape, datatype = _shape(called, entry), _datatype(called, entry)
    size = _whole(_parameters(entry, called), "binary_data_size", least=0)
    if (size is None) == ("data" not in entry):
        raise InvalidRequest(f"{called} has neither data nor binary_data_size, or both")
    if size is not None and size > len(data):
        raise InvalidRequest(f"{called} has a binary_data_size of {str(size)[:30]}, {len(data)} bytes are left")
    try:
        if size is None:
            return from_json(entry["data"], datatype, shape), 0
        return from_binary(data[:size], datatype, shape), size
    except InvalidRequest as error:
        raise InvalidRequest(f"{called}: {error}") from error


def _shape(called: str, entry: Mapping[str, Any]) -> list[int]:
    """A shape whose extents are at least 1; how much they multiply to is for the data to say."""
    shape = entry.get("shape")
    if not isinstance(shape, list) or len(shape) > MOST_AXES or not all(type(extent) is int for extent in shape):
        raise InvalidRequest(f"{called} has no shape of at most {MOST_AXES} whole numbers")
    if any(extent < 1 for extent in shape):
        raise InvalidRequest(f"{called} has an extent below 1 in its shape")
    if math.prod(shape) >= 2**63:
        raise InvalidRequest(f"{called} has a shape of more values than anything can hold")
    return shape


def _datatype(called: str, entry: Mapping[str, Any]) -> str:
    datatype = entry.get("datatype")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise InvalidRequest(f"{called} has no datatype of {', '.join(DTYPES)}")
    return datatype


def _outputs(document: Mapping[str, Any], binary: bool) -> list[RequestedOutput]:
    return [_output(name, entry, binary) for name, entry in _named(document, "outputs")]


def _output(name: str, entry: Mapping[str, Any], binary: bool) -> RequestedOutput:
    parameters = _parameters(entry, f"output {name[:200]!r}")
    classes = _whole(parameters, "classification", least=1)
    return RequestedOutput(name, _flag(parameters, "binary_data", default=binary), classes)


def _raw(data: memoryview, signature: Signature) -> dict[str, Array]:
    """The only input, its one free extent as the number of bytes has it; a model that batches gets one row."""
    if len(signature.inputs) != 1:
        raise InvalidRequest(f"a raw request is for models of one input, this one has {len(signature.inputs)}")
    [wanted] = signature.inputs
    if wanted.datatype not in DTYPES:
        raise InvalidRequest(f"input {wanted.name!r} is of a type that the protocol does not have")
    shape = [1, *wanted.shape[1:]] if signature.batches else list(wanted.shape)
    if wanted.datatype == "BYTES":
        return {wanted.name: _raw_text(data, wanted, shape)}
    free = shape.count(-1)
    size = math.prod(extent for extent in shape if extent != -1) * DTYPES[wanted.datatype].itemsize
    if free > 1 or not data or len(data) % size:
        raise InvalidRequest(f"{len(data)} bytes do not say which shape input {wanted.name!r} is to have")
    filled = [len(data) // size if extent == -1 else extent for extent in shape]
    return {wanted.name: from_binary(data, wanted.datatype, filled)}


def _raw_text(data: memoryview, wanted: Tensor, shape: Sequence[int]) -> Array:
    if any(extent not in (1, -1) for extent in shape):
        raise InvalidRequest(f"a raw request is one element of BYTES, input {wanted.name!r} takes more")
    array = np.empty([1] * len(shape), np.object_)
    array[...] = text_of(data)
    return array
