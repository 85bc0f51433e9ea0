"""The kernels of a convolution, or the matrix of a dense layer, as the file has them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from service.errors import NotAcceptable
from service.inference.graph.constants import constant
from service.inference.graph.layers import Graph
from service.inference.graph.operators import equivalent
from service.inference.graph.subgraph import producers
from service.inference.graph.unflattened import Space, unflattened
from service.inference.graph.window import attributes

Array = NDArray[Any]

BIASED = frozenset({"Conv", "ConvTranspose", "Gemm", "FusedConv", "FusedGemm"})  # two of them onnxruntime's own
MULTIPLYING = frozenset({"MatMul", "FusedMatMul"})
QUANTISED = frozenset({"QLinearConv", "QLinearMatMul"})
WEIGHTED = BIASED | MULTIPLYING | QUANTISED


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one layer; `arrays` are exact: the weight, and the bias if there is one, under those names."""

    layer: str
    op: str
    folded: tuple[str, ...]
    arrays: Mapping[str, Array]
    axes: tuple[str, ...]
    """What the axes of the weight are: "out", "in", "space"."""
    groups: int = 1
    space: Space | None = field(default=None)
    """Of a dense layer behind a flatten: the shape that it had before."""

    def kernels(self) -> Array:
        """[out, in of one group, *space], whatever the order in the file; [out, in] of a dense layer.

        Of a dense layer behind a flatten, each row is given back the space that it looks at. Raises NotAcceptable for
        a weight that is neither.
        """
        weight = self.arrays["weight"]
        if self.axes[:2] == ("in", "out") and weight.ndim > 2:  # a transposed convolution, its groups side by side
            grouped = weight.reshape(self.groups, -1, *weight.shape[1:]).swapaxes(1, 2)
            return grouped.reshape(-1, *grouped.shape[2:])
        if weight.ndim < 2 or "stack" in self.axes:
            raise NotAcceptable(f"the weight of layer {self.layer!r} has no picture: its shape is {list(weight.shape)}")
        rows = weight.T if self.axes == ("in", "out") else weight
        return self.space.of_rows(rows) if self.space else rows


def layer_weights(model: onnx.ModelProto, graph: Graph, layer: str, channel_axes: Mapping[str, int]) -> LayerWeights:
    """The weights of `layer`: those of its node, or of the product that it adds a bias to.

    Quantised ones are dequantised. Raises UnknownName for no such layer, NotAcceptable for one without weights.
    """
    row = graph.layer(layer)
    made_by = producers(model.graph)
    node, bias = _source(model, model.graph.node[made_by[layer]])
    found = _READERS[node.op_type](model, node) if node and layer in made_by else None
    if node is None or found is None:
        raise NotAcceptable(f"layer {layer!r} ({row.op}) has no kernel and no matrix; layers of Conv and Gemm do")
    arrays, axes = found
    if bias is not None:
        arrays["bias"] = bias
    dense = axes in (("in", "out"), ("out", "in")) and arrays["weight"].ndim == 2
    features = arrays["weight"].shape[axes.index("in")] if dense else 0
    space = unflattened(model, graph, node.input[0], features, channel_axes) if dense else None
    return LayerWeights(layer, row.op, row.folded, arrays, axes, attributes(node).get("group", 1), space)


Found = tuple[dict[str, Array], tuple[str, ...]]


def _source(model: onnx.ModelProto, node: onnx.NodeProto) -> tuple[onnx.NodeProto | None, Array | None]:
    """The node that holds the weight of `node`: itself, or what it adds a constant to; with that constant."""
    if _is_weighted(node):
        return node, None
    made_by = producers(model.graph)
    for product, other in (node.input, node.input[::-1]) if node.op_type == "Add" and len(node.input) == 2 else ():
        before = model.graph.node[made_by[product]] if product in made_by else None
        if before is not None and _is_weighted(before):
            bias = constant(model, other)
            if bias is not None:
                return before, bias
    return None, None


def _is_weighted(node: onnx.NodeProto) -> bool:
    """A namesake of another domain may hold anything."""
    return node.op_type in WEIGHTED and equivalent(node) is not None


def _plain(model: onnx.ModelProto, node: onnx.NodeProto) -> Found | None:
    weight = constant(model, node.input[1])
    if weight is None:
        return None
    arrays = {"weight": weight}
    bias = constant(model, node.input[2]) if len(node.input) > 2 and node.input[2] else None
    return (arrays if bias is None else arrays | {"bias": bias}), _axes(node, weight)


def _axes(node: onnx.NodeProto, weight: Array) -> tuple[str, ...]:
    space = ("space",) * (weight.ndim - 2)
    if "Gemm" in node.op_type:
        return ("out", "in") if attributes(node).get("transB", 0) else ("in", "out")
    return (("in", "out") if node.op_type == "ConvTranspose" else ("out", "in")) + space


def _product(model: onnx.ModelProto, node: onnx.NodeProto) -> Found | None:
    """`x @ weight`, or `weight @ x`."""
    for place, axes in ((1, ("in", "out")), (0, ("out", "in"))):
        weight = constant(model, node.input[place])
        if weight is not None:
            return {"weight": weight}, ("stack",) * (weight.ndim - 2) + axes
    return None


def _quantised(model: onnx.ModelProto, node: onnx.NodeProto) -> Found | None:
    """(weight - zero point) * scale, per output channel or for all; the bias is in units of both scales."""
    weight, scale, zero = (constant(model, name) for name in node.input[3:6])
    if weight is None or scale is None or zero is None:
        return None
    convolution = node.op_type == "QLinearConv"
    along = (-1, *[1] * (weight.ndim - 1)) if convolution else (-1,)
    exact = (weight.astype(np.int32) - zero.astype(np.int32).reshape(along)) * scale.reshape(along)
    arrays: dict[str, Array] = {"weight": exact.astype(np.float32)}
    bias, input_scale = (constant(model, node.input[place]) if len(node.input) > 8 else None for place in (8, 1))
    if bias is not None and input_scale is not None:
        arrays["bias"] = (bias * (input_scale * scale)).astype(np.float32)
    return arrays, (("out", "in", *["space"] * (weight.ndim - 2)) if convolution else ("in", "out"))


_READERS: Mapping[str, Callable[[onnx.ModelProto, onnx.NodeProto], Found | None]] = (
    dict.fromkeys(BIASED, _plain) | dict.fromkeys(MULTIPLYING, _product) | dict.fromkeys(QUANTISED, _quantised)
)
