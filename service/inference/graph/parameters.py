"""Parameters: the numbers that a node has learnt, and those that only steer it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx

from service.inference.graph.operators import standard
from service.inference.graph.subgraph import bodies, reads

# Numbers that steer an operation are no weights: whole numbers for shapes, axes and indices, and what these take.
STEERING_TYPES = frozenset({onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING})
# How many inputs, from the first on, may be weights; bounds, pads, scales, zero points and thresholds are none.
LEARNT = {
    "Clip": 1, "Pad": 1, "Resize": 1, "Upsample": 1, "QuantizeLinear": 1, "DequantizeLinear": 1, "NonMaxSuppression": 2,
}  # fmt: skip


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
    return found | constant_nodes(graph.node)


def constant_nodes(nodes: Iterable[onnx.NodeProto]) -> dict[str, Weight]:
    """What the Constants among `nodes` hold, by name."""
    constants = (node for node in nodes if standard(node).op_type == "Constant" and node.attribute)
    return {node.output[0]: _constant(node.attribute[0]) for node in constants}


def computed_constants(nodes: Iterable[onnx.NodeProto], weights: Iterable[str]) -> set[str]:
    """Names of the weights and of all that `nodes` compute from weights alone, as a dequantised kernel is."""
    constants = set(weights)
    for node in nodes:
        needed = reads(node)
        if needed and constants.issuperset(needed):
            constants.update(filter(None, node.output))
    return constants


def held_by(node: onnx.NodeProto, around: Mapping[str, Weight]) -> set[Weight]:
    """The weights that `node` reads, its bodies' own among them."""
    node = standard(node)
    held = {around[name] for name in node.input[: LEARNT.get(node.op_type)] if name in around}
    for body in bodies(node):
        inside = {**around, **weights_of(body)}
        held = held.union(*(held_by(child, inside) for child in body.node))
    return held


def _constant(attribute: onnx.AttributeProto) -> Weight:
    if attribute.type == onnx.AttributeProto.TENSOR:
        return Weight(tuple(attribute.t.dims), attribute.t.data_type)
    if attribute.type == onnx.AttributeProto.SPARSE_TENSOR:
        return Weight(tuple(attribute.sparse_tensor.dims), attribute.sparse_tensor.values.data_type)
    if attribute.type == onnx.AttributeProto.FLOATS:
        return Weight((len(attribute.floats),), onnx.TensorProto.FLOAT)
    return Weight((), onnx.TensorProto.INT64)  # one number, whole numbers or text: nothing that is learnt
