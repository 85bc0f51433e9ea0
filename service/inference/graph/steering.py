"""Steering: the small constants of a graph, among them the whole numbers that say axes, starts and pads."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from service.inference.graph.operators import standard

Array = NDArray[Any]
LARGEST_STEERING = 1024  # numbers; whatever says axes, starts or pads is far smaller


def small_constants(graph: onnx.GraphProto) -> dict[str, Array]:
    """The few numbers of initialisers and Constant nodes, by name; what lies in another file is left out."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if standard(node).op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    return {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items() if _is_small(tensor)}


def steering_numbers(constants: Mapping[str, Array]) -> dict[str, list[int]]:
    """Those that are whole numbers, in a row."""
    whole = {name: value for name, value in constants.items() if value.dtype in (np.int64, np.int32)}
    return {name: [int(number) for number in value.ravel()] for name, value in whole.items()}


def _is_small(tensor: onnx.TensorProto) -> bool:
    inside = tensor.data_location != onnx.TensorProto.EXTERNAL
    return inside and tensor.data_type != onnx.TensorProto.STRING and math.prod(tensor.dims) <= LARGEST_STEERING
