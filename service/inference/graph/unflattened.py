"""What a dense layer behind a flatten looks at: the space that the flatten laid out in a row."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from service.inference.graph.layers import Graph
from service.inference.graph.subgraph import producers

FLATTENING = frozenset({"Flatten", "Reshape"})
# What may stand between a flatten and a dense layer and leaves every number in its place.
IN_PLACE = frozenset({"Identity", "Dropout", "Cast", "QuantizeLinear", "DequantizeLinear", "Relu", "LeakyRelu", "Clip"})


@dataclass(frozen=True)
class Space:
    """The shape before the flatten, without the batch, and which axis of it is the channels."""

    shape: tuple[int, ...]
    channel_axis: int

    def of_rows(self, rows: NDArray[Any]) -> NDArray[Any]:
        """[out, in] -> [out, channels, *space]."""
        return np.moveaxis(rows.reshape(len(rows), *self.shape), self.channel_axis + 1, 1)


def unflattened(
    model: onnx.ModelProto, graph: Graph, name: str, features: int, channel_axes: Mapping[str, int]
) -> Space | None:
    """The space behind the tensor `name` [N, features]; None where no flatten made it, or of single places."""
    made_by = producers(model.graph)
    while name in made_by:
        node = model.graph.node[made_by[name]]
        if node.op_type in FLATTENING:
            return _space(_lengths(model, graph, node.input[0]), features, channel_axes.get(node.input[0], 1) - 1)
        if node.op_type not in IN_PLACE:
            return None
        name = node.input[0]
    return None


def _lengths(model: onnx.ModelProto, graph: Graph, name: str) -> tuple[int | None, ...]:
    """Of one input of the batch; None where unknown."""
    if name in graph.rows:
        return tuple(length if isinstance(length, int) else None for length in (graph.rows[name].shape or ())[1:])
    given = {value.name: value.type.tensor_type.shape.dim for value in model.graph.input}
    return tuple(dimension.dim_value or None for dimension in [*given.get(name, ())][1:])


def _space(lengths: tuple[int | None, ...], features: int, channel_axis: int) -> Space | None:
    known = tuple(length for length in lengths if length)
    whole = len(known) == len(lengths) >= 2 and math.prod(known) == features
    return Space(known, channel_axis) if whole and features > known[channel_axis] else None
