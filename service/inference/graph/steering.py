"""Steering: the whole numbers of a graph that say axes, starts and pads."""

import math

import numpy as np
import onnx

LARGEST_STEERING = 1024  # numbers; whatever says axes, starts or pads is far smaller


def steering_numbers(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """The few whole numbers that say axes, starts and pads, by name."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    found = {name: _whole_numbers(tensor) for name, tensor in tensors.items()}
    return {name: numbers for name, numbers in found.items() if numbers is not None}


def _whole_numbers(tensor: onnx.TensorProto) -> list[int] | None:
    whole = tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    if not whole or tensor.data_location == onnx.TensorProto.EXTERNAL or math.prod(tensor.dims) > LARGEST_STEERING:
        return None
    return [int(number) for number in np.atleast_1d(onnx.numpy_helper.to_array(tensor)).ravel()]
