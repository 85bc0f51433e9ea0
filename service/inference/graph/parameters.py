"""Parameters: the numbers that a node has learnt, and those that only steer it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from service.inference.graph.subgraph import bodies

# Numbers that steer an operation are no weights: whole numbers for shapes, axes and indices, and what these take.
STEERING_TYPES = frozenset({onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING})
STEERED = frozenset({"Clip", "Pad", "Resize", "Upsample"})
QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear"})  # a scale and a zero point are no weights either


@dataclass(frozen=True, eq=False)
class Weight:
    """A constant tensor. Equal to itself alone, so that a set counts a shared one once."""

    shape: tuple[int, ...]
    type: int

    @property
    def numbers(self) -> int:
        """How many numbers it has learnt."""
        return 0 if self.type in STEERING_TYPES or not self.shape else math.prod(self.shape)


def weights_of(graph: onnx.GraphProto) -> dict[str, Weight]:
    """Initialisers and Constant nodes of one graph, by name; those of its bodies left out."""
    found = {tensor.name: Weight(tuple(tensor.dims), tensor.data_type) for tensor in graph.initializer}
    for sparse in graph.sparse_initializer:
        found[sparse.values.name] = Weight(tuple(sparse.dims), sparse.values.data_type)
    for node in graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = _constant(node.attribute[0])
    return found


def _constant(attribute: onnx.AttributeProto) -> Weight:
    if attribute.type == onnx.AttributeProto.TENSOR:
        return Weight(tuple(attribute.t.dims), attribute.t.data_type)
    if attribute.type == onnx.AttributeProto.SPARSE_TENSOR:
        return Weight(tuple(attribute.sparse_tensor.dims), attribute.sparse_tensor.values.data_type)
    if attribute.type == onnx.AttributeProto.FLOATS:
        return Weight((len(attribute.floats),), onnx.TensorProto.FLOAT)
    return Weight((), onnx.TensorProto.INT64)  # one number, whole numbers or text: nothing that is learnt


def held_by(node: onnx.NodeProto, around: Mapping[str, Weight]) -> set[Weight]:
    """The weights that `node` reads, its bodies' own among them."""
    if node.op_type in STEERED:
        return set()
    names = node.input[:1] if node.op_type in QUANTISERS else node.input
    held = {around[name] for name in names if name in around}
    for body in bodies(node):
        inside = {**around, **weights_of(body)}
        held = held.union(*(held_by(child, inside) for child in body.node))
    return held
