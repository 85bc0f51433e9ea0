"""Outputs -> the answer of the Open Inference Protocol: JSON, or JSON and binary data behind it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from service.api.tensors import Array, binary_size, check_answer_size, output_datatype, to_binary, to_json


@dataclass(frozen=True)
class EncodedOutput:
    """One output: what the JSON says of it, its data as JSON (None where they are binary), and its binary data."""

    header: Mapping[str, Any]
    json: bytes | None
    binary: bytes

    @classmethod
    def of(cls, name: str, array: Array, *, binary: bool, max_bytes: int) -> "EncodedOutput":
        """Raises InvalidRequest for what JSON cannot say, NotAcceptable for what is no tensor, TooLarge."""
        header = {"name": name, "datatype": output_datatype(name, array), "shape": list(array.shape)}
        if not binary:
            return cls(header, to_json(name, array, max_bytes), b"")
        check_answer_size(binary_size(array), max_bytes)
        data = to_binary(array)
        return cls(header | {"parameters": {"binary_data_size": len(data)}}, None, data)

    def text(self) -> bytes:
        """Its part of the JSON; its data are JSON already, so that they are not made Python objects again."""
        header = _dumps(self.header)
        return header if self.json is None else b'%s,"data":%s}' % (header[:-1], self.json)


@dataclass(frozen=True)
class InferenceAnswer:
    """A body; its first `header_length` bytes are JSON and binary data follow, or None: all of it is JSON."""

    body: bytes
    header_length: int | None


def encode(head: Mapping[str, Any], outputs: Iterable[EncodedOutput], max_bytes: int) -> InferenceAnswer:
    """`head` (model_name, model_version, id) and the outputs, in order. Raises TooLarge."""
    text, data = _dumps(head)[:-1] + b',"outputs":[', []
    size, binary, parts = 0, False, []
    for output in outputs:
        parts.append(output.text())
        data.append(output.binary)
        binary = binary or output.json is None
        size += len(parts[-1]) + len(output.binary)
        check_answer_size(size, max_bytes)
    header = text + b",".join(parts) + b"]}"
    check_answer_size(len(header) + size - sum(map(len, parts)), max_bytes)
    return InferenceAnswer(b"".join([header, *data]), len(header) if binary else None)


def _dumps(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
