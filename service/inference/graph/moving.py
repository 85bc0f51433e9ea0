"""Moving: where the axes lie, and what their places see, after an operator that only moves numbers about.

The rules are those of one node each, which reads `first` as its first input.
"""
# ruff: noqa: ARG001 - all rules are called alike

import onnx

from service.inference.graph.operands import Operands
from service.inference.graph.receptive_field import Span
from service.inference.graph.shapes import Shape
from service.inference.graph.sight import Sight
from service.inference.graph.window import attributes


def transposed(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """Each axis goes where the order says."""
    rank = operands.rank(node.input[0])
    order = attributes(node).get("perm") or (list(range(rank))[::-1] if rank else [])
    return first.moved(lambda axis: list(order).index(axis) if axis in order else None)


def flattened(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """The batch alone stays."""
    return first.moved(lambda axis: 0 if axis == 0 and attributes(node).get("axis", 1) == 1 else None)


def reshaped(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """Axes that keep their length, counted from either end, are what they were."""
    before, after = operands.shapes.get(node.input[0], ()), operands.shapes.get(node.output[0], ())
    head = _alike(before, after)
    tail = _alike(before[head:][::-1], after[head:][::-1])
    grown = len(after) - len(before)
    return first.moved(lambda axis: axis if axis < head else axis + grown if axis >= len(before) - tail else None)


def squeezed(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """Axes of length 1 go."""
    axes = operands.numbers(node, 1, "axes")
    if axes is None:
        shape = operands.shapes.get(node.input[0])
        if shape is None or not all(isinstance(length, int) for length in shape[1:]):
            return first.blurred
        axes = [axis for axis, length in enumerate(shape) if length == 1]
    gone = operands.positive(axes, node.input[0])
    return first.closed_up(gone)


def unsqueezed(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """Axes of length 1 come."""
    axes = operands.numbers(node, 1, "axes")
    if not axes:
        return first.blurred
    new = set(operands.positive(axes, node.output[0]))
    rank = operands.rank(node.output[0])
    old = [axis for axis in range(rank or 0) if axis not in new]
    return first.moved(lambda axis: old[axis] if axis < len(old) else None)


def joined(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """Along one axis the operands lie one after the other."""
    along = operands.axis(node, default=1)
    return Sight.union(operands.of(name).spread(along).uneven(along) for name in node.input)


def split(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """The parts begin at different places of that axis, one row would not do for them."""
    along = operands.axis(node, default=0)
    return first.spread(along).uneven(along)


def sliced(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """Places are left out, at the beginning or in between."""
    starts = operands.numbers(node, 1, "starts") or []
    axes = operands.numbers(node, 3, "axes") or list(range(len(starts)))
    steps = operands.numbers(node, 4, "steps") or [1] * len(starts)
    axes = operands.positive(axes, node.input[0])
    cuts = {axis: (start, step) for axis, start, step in zip(axes, starts, steps, strict=False)}
    shape = operands.shapes.get(node.input[0], ())

    def cut(axis: int, span: Span) -> Span | None:
        start, step = cuts.get(axis, (0, 1))
        length = shape[axis] if axis < len(shape) else None
        if step < 1 or (start < 0 and not isinstance(length, int)):
            return None
        if isinstance(length, int):
            start = min(max(start + length if start < 0 else start, 0), length)
        return span.through(1, step, -start)

    after = operands.shapes.get(node.output[0], ())
    whole = _same_axes(shape, after)
    return first.changed(cut).uneven(axis for axis, (_, step) in cuts.items() if step != 1 or axis not in whole)


def padded(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """Places are added that see nothing."""
    if attributes(node).get("mode") == b"wrap":
        return first.blurred
    pads = operands.numbers(node, 1, "pads") or operands.numbers(node, 1, "paddings") or []
    axes = operands.numbers(node, 3, "axes") or list(range(len(pads) // 2))
    axes = operands.positive(axes, node.input[0])
    before, after = dict(zip(axes, pads, strict=False)), dict(zip(axes, pads[len(pads) // 2 :], strict=False))
    moved = first.changed(lambda axis, span: span.through(1, 1, before.get(axis, 0)))
    return moved.uneven(axis for axis in axes if before.get(axis) or after.get(axis))


def gathered(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """Any places of one axis are taken, in any order."""
    [along] = operands.axis(node, default=0)
    rank = operands.rank(node.input[1])
    if rank is None:
        return first.blurred
    return first.moved(lambda axis: axis if axis < along else None if axis == along else axis + rank - 1)


def resized(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """Axes keep their place; only where the length stays the same, each place still sees what it saw."""
    before, after = operands.shapes.get(node.input[0], ()), operands.shapes.get(node.output[0], ())
    crops = attributes(node).get("coordinate_transformation_mode") == b"tf_crop_and_resize"
    same = _same_axes(before, after) if not crops else set()
    resized = first.changed(lambda axis, span: span if axis in same else None)
    return resized.uneven(range(len(before))) if crops or len(before) != len(after) else resized


def blocked(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """Blocks of places become channels."""
    block = int(attributes(node)["blocksize"])
    return first.without([1]).changed(lambda axis, span: span if axis < 2 else span.through(block, block))


def unblocked(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """Channels become blocks of places, which see the same."""
    return first.without([1]).wide_in_space


def _alike(before: Shape, after: Shape) -> int:
    """How many lengths from the front on are known to be the same."""
    count = 0
    for one, other in zip(before, after, strict=False):
        if one is None or one != other:
            break
        count += 1
    return count


def _same_axes(before: Shape, after: Shape) -> set[int]:
    if len(before) != len(after):
        return set()
    return {axis for axis, length in enumerate(before) if length is not None and length == after[axis]}
