"""Mixing: what a place sees after an operator that computes it from several: arithmetic, windows, reductions.

The rules are those of one node each, which reads `first` as its first input.
"""
# ruff: noqa: ARG001 - all rules are called alike

import math
from collections.abc import Mapping, Sequence

import onnx

from service.inference.graph.operands import Operands
from service.inference.graph.receptive_field import Span
from service.inference.graph.shapes import Shape
from service.inference.graph.sight import Place, Sight, Source
from service.inference.graph.window import CONVOLUTIONS, attributes, window


def elementwise(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """Operands of unlike shapes are repeated along the axes that they lack."""
    names = [name for name in node.input if name]
    if len(names) == 1:
        return first
    if node.op_type in ("BatchNormalization", "QuantizeLinear", "DequantizeLinear", "Dropout", "Clip"):
        return first  # the others are constants, one for each channel or one for all
    shapes = [operands.shapes.get(name) for name in names]
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        return first.blurred
    rank = max(map(len, known))
    longest = [max((_extent(shape, axis - rank) for shape in known), default=1) for axis in range(rank)]
    sights = [_broadcast(operands.of(name), shape, longest) for name, shape in zip(names, known, strict=True)]
    places = {source: place for sight in sights for source, place in sight.places.items()}
    return Sight.union(_standing_back(sight, shape, places, rank) for sight, shape in zip(sights, known, strict=True))


def windowed(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """A convolution mixes its channels, a pooling does not."""
    seen = window(node, operands.shapes)
    mixed = first.without([1]) if node.op_type in CONVOLUTIONS else first
    rank = len(seen.kernel) if seen else 0
    if seen is None or seen.padding is None or rank != (operands.rank(node.input[0]) or rank + 2) - 2:
        return mixed.wide_in_space
    kernel, stride, padding, dilation = seen.kernel, seen.stride, seen.padding, seen.dilation

    def slid(axis: int, span: Span) -> Span | None:
        if axis < 2:
            return span
        place = axis - 2
        if node.op_type != "ConvTranspose":
            return span.through(kernel[place], stride[place], padding[place], dilation[place])
        if stride[place] != 1:
            return None
        reach = (kernel[place] - 1) * dilation[place]  # a convolution with the kernel mirrored
        return span.through(kernel[place], 1, reach - padding[place], dilation[place])

    ragged = {
        axis + 2
        for axis, (size, step) in enumerate(zip(kernel, dilation, strict=True))
        if abs(padding[axis] - padding[axis + rank]) > 1 or max(padding[axis::rank]) > (size - 1) * step
    }
    return mixed.changed(slid).uneven(ragged)


def pooled_whole(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """All places of a channel are mixed."""
    return first.wide_in_space


def kept(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """Along one axis everything is mixed."""
    return first.spread(operands.axis(node, default=-1))


def mixed_from(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """From one axis on everything is mixed; softmax of one axis since opset 13."""
    if node.op_type != "LayerNormalization" and operands.opset >= 13:
        return kept(operands, node, first)
    [axis] = operands.axis(node, default=-1 if node.op_type == "LayerNormalization" else 1)
    return first.changed(lambda place, span: None if place >= axis else span)


def across_channels(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """At one place, all channels are mixed."""
    return first.spread([1])


def reduced(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """The axes reduced are mixed; they stay as places of length 1, or go."""
    settings = attributes(node)
    axes = operands.numbers(node, 1, "axes")
    if not axes:
        return first if settings.get("noop_with_empty_axes", 0) else first.blurred
    gone = operands.positive(axes, node.input[0])
    return first.spread(gone) if settings.get("keepdims", 1) else first.closed_up(gone)


def best(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """Where along an axis the largest or the smallest is."""
    gone = operands.axis(node, default=0)
    keeps = attributes(node).get("keepdims", 1)
    return first.spread(gone) if keeps else first.closed_up(gone)


def multiplied(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
    """Of the left one, the last axis is summed over, of the right one the last but one."""
    ranks = [operands.rank(name) for name in node.input[:2]]
    if None in ranks or min(rank or 0 for rank in ranks) < 2:
        return Sight()
    widest = max(rank or 0 for rank in ranks)
    sights = []
    for name, rank, summed in zip(node.input, ranks, (-1, -2), strict=False):
        shift = widest - (rank or 0)
        sight = operands.of(name).without([(rank or 0) + summed])
        sights.append(sight.shifted(shift))
    return Sight.union(sights)


def _standing_back(sight: Sight, shape: Shape, places: Mapping[Source, Place], rank: int) -> Sight:
    """`sight` where it leaves the other operands' axes what they are: a single place of it is repeated along them."""
    more = {
        source: Place(place.axis, None)
        for source, place in places.items()
        if source[0] in sight.inputs and source not in sight.places and _extent(shape, place.axis - rank) == 1
    }
    return Sight(sight.inputs, {**sight.places, **more})


def _extent(shape: Shape, axis: int) -> float:
    """A length, counted from the end; 1 where the shape is shorter; longer than any number where it is not known."""
    if -axis > len(shape):
        return 1
    length = shape[axis]
    return length if isinstance(length, int) else math.inf


def _broadcast(sight: Sight, shape: Shape, longest: Sequence[float]) -> Sight:
    """`sight` in a result of the lengths `longest`; where a single place is repeated, every one sees it."""
    shift = len(longest) - len(shape)
    repeated = [axis for axis, length in enumerate(shape) if length == 1 and longest[axis + shift] != 1]
    return sight.spread(repeated).shifted(shift)
