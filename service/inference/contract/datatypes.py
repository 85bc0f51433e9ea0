"""The types of tensors: the Open Inference Protocol's name, onnxruntime's name, numpy's dtype. One table."""

from typing import Any

import numpy as np

_TABLE = (
    ("BOOL", "tensor(bool)", np.bool_),
    ("UINT8", "tensor(uint8)", np.uint8),
    ("UINT16", "tensor(uint16)", np.uint16),
    ("UINT32", "tensor(uint32)", np.uint32),
    ("UINT64", "tensor(uint64)", np.uint64),
    ("INT8", "tensor(int8)", np.int8),
    ("INT16", "tensor(int16)", np.int16),
    ("INT32", "tensor(int32)", np.int32),
    ("INT64", "tensor(int64)", np.int64),
    ("FP16", "tensor(float16)", np.float16),
    ("FP32", "tensor(float)", np.float32),
    ("FP64", "tensor(double)", np.float64),
    ("BYTES", "tensor(string)", np.object_),
)

DTYPES: dict[str, np.dtype[Any]] = {name: np.dtype(dtype) for name, _, dtype in _TABLE}
"""The protocol's names -> dtypes. An element of BYTES is a `str`: onnxruntime has text, but no bytes."""

_OF_ONNXRUNTIME = {theirs: name for name, theirs, _ in _TABLE}
_OF_DTYPE = {dtype: name for name, dtype in DTYPES.items()}


def of_onnxruntime(kind: str) -> str:
    """'tensor(float)' -> 'FP32'; a type that the protocol lacks keeps onnxruntime's name."""
    return _OF_ONNXRUNTIME.get(kind, kind)


def of_dtype(dtype: np.dtype[Any]) -> str | None:
    """float32 -> 'FP32'; None for a dtype that the protocol lacks."""
    return _OF_DTYPE.get(dtype)
