"""Which axis of each layer is its channels: the second as ONNX has it, unless the graph itself keeps them last."""

from collections.abc import Iterable, Mapping, Sequence

import onnx

from service.inference.graph.operators import standard
from service.inference.graph.shapes import Shape
from service.inference.graph.window import POOLINGS, attributes

CHANNELS = 1
"""Where ONNX's own operators look for them."""

SPATIAL = POOLINGS | {
    "Conv", "ConvTranspose", "DeformConv", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool",
    "BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "DepthToSpace", "SpaceToDepth",
}  # fmt: skip
# What may move axes about, or give them another meaning: nothing is passed on through these.
MOVING = frozenset({
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "MatMul", "Gemm", "Einsum", "Gather", "Shape", "Constant", "Tile",
    "Expand", "LSTM", "GRU", "RNN", "If", "Loop", "Scan", "NonMaxSuppression", "TopK", "OneHot", "ScatterND",
})  # fmt: skip


def channel_axes(graph: onnx.GraphProto, shapes: Mapping[str, Shape | None]) -> dict[str, int]:
    """The axis of the channels, the batch counted, of each tensor that is known to have them elsewhere than at 1.

    Convolutions, poolings and normalisations take and yield theirs at 1. From there it is followed, forwards and then
    backwards, through Transpose and through whatever keeps the axes where they are; so the NHWC side of a Transpose is
    known by its other side. `shapes` holds the shapes of tensors, where known: only equal ranks pass it on.
    """
    nodes = [standard(node) for node in graph.node]
    axes = _backwards(nodes, shapes) | _forwards(nodes, shapes)
    return {name: axis for name, axis in axes.items() if axis not in (0, CHANNELS)}


def _forwards(nodes: Sequence[onnx.NodeProto], shapes: Mapping[str, Shape | None]) -> dict[str, int]:
    axes: dict[str, int] = {}
    for node in nodes:
        axis = CHANNELS if node.op_type in SPATIAL else _passed_on(node, axes, node.input, node.output, shapes)
        if axis is not None and node.op_type == "Transpose":
            axis = _after(node, axis)
        if axis is not None:
            axes.update(dict.fromkeys(node.output[:1], axis))
    return axes


def _backwards(nodes: Sequence[onnx.NodeProto], shapes: Mapping[str, Shape | None]) -> dict[str, int]:
    axes: dict[str, int] = {}
    for node in reversed(nodes):
        if node.op_type in SPATIAL:
            axes.setdefault(node.input[0], CHANNELS)
            continue
        axis = _passed_on(node, axes, node.output, node.input, shapes)
        if axis is not None and node.op_type == "Transpose":
            axis = _before(node, axis)
        if axis is not None:
            for name in _of_equal_rank(node, shapes):
                axes.setdefault(name, axis)
    return axes


def _passed_on(
    node: onnx.NodeProto,
    axes: Mapping[str, int],
    known: Sequence[str],
    asked: Sequence[str],
    shapes: Mapping[str, Shape | None],
) -> int | None:
    """The axis that `known` tensors have and the `asked` ones of the same rank share, if `node` leaves it alone."""
    if node.op_type in MOVING or not asked:
        return None
    ranks = {_rank(shapes, name) for name in asked} - {None}
    return next((axes[name] for name in known if name in axes and _rank(shapes, name) in ranks), None)


def _of_equal_rank(node: onnx.NodeProto, shapes: Mapping[str, Shape | None]) -> Iterable[str]:
    rank = _rank(shapes, node.output[0])
    return [name for name in node.input if name and _rank(shapes, name) == rank]


def _rank(shapes: Mapping[str, Shape | None], name: str) -> int | None:
    shape = shapes.get(name)
    return None if shape is None else len(shape)


def _after(node: onnx.NodeProto, axis: int) -> int | None:
    order = attributes(node).get("perm")
    return list(order).index(axis) if order and axis in order else None


def _before(node: onnx.NodeProto, axis: int) -> int | None:
    order = attributes(node).get("perm")
    return int(order[axis]) if order and axis < len(order) else None
