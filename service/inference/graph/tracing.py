"""Tracing: the receptive field of every tensor of a graph, operator by operator.

What is not listed here is taken to see everything: recurrence, attention, detection heads, operators that nobody knows.
So are upsampling and transposed convolutions of a stride above 1, whose fields differ from place to place, and a
normalisation by statistics of the picture itself (InstanceNormalization), as each of its places depends on all.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import onnx

from service.inference.graph.operators import standard
from service.inference.graph.receptive_field import ReceptiveField, Span
from service.inference.graph.shapes import Inferred, Shape
from service.inference.graph.sight import Sight, Source
from service.inference.graph.steering import steering_numbers
from service.inference.graph.subgraph import reads
from service.inference.graph.window import CONVOLUTIONS, POOLINGS, attributes, window

SHAPE_ONLY = frozenset({"Shape", "Size", "EyeLike", "RandomNormalLike", "RandomUniformLike"})
GLOBAL_POOLINGS = frozenset({"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"})
# fmt: off
ELEMENTWISE = frozenset({
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BatchNormalization", "BitShift",
    "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Cos", "Cosh",
    "DequantizeLinear", "Div", "Dropout", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual",
    "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max",
    "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "QuantizeLinear", "Reciprocal", "Relu",
    "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Sub", "Sum",
    "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor",
})
REDUCTIONS = frozenset({
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
})
# fmt: on
ADDED = 3
"""Which input of a fused convolution is added to its sum."""


class Tracer:
    """What each tensor of `graph` sees. `inputs` are those that a client feeds."""

    def __init__(self, graph: onnx.GraphProto, inputs: Iterable[str], known: Inferred, opset: int) -> None:
        shapes = self._shapes = known.shapes
        self._opset = opset
        self._values = steering_numbers(known.constants)
        self._spatial: dict[Source, None] = {}
        self._sights = {name: Sight.of_input(name, len(shapes.get(name, ()))) for name in inputs}
        for node in graph.node:
            sight = self._see(node)
            self._sights.update((name, sight) for name in node.output if name)

    def depends(self, name: str) -> bool:
        """Whether the values of a tensor depend on those of the inputs, not just on their shapes."""
        return bool(self._sights.get(name, Sight()).inputs)

    def receptive_field(self, name: str) -> ReceptiveField | None:
        """Along the axes of the input that convolutions and poolings slide over; None where it sees all of one.

        Several inputs must agree.
        """
        sight = self._sights.get(name, Sight())
        spans: dict[str, list[Span]] = {}
        for source in sorted(source for source in self._spatial if source[0] in sight.inputs):
            place = sight.places.get(source)
            if place is None or place.span is None:
                return None
            spans.setdefault(source[0], []).append(place.span)
        found = {ReceptiveField.of(each) for each in spans.values()}
        return found.pop() if len(found) == 1 else None

    def _see(self, node: onnx.NodeProto) -> Sight:
        seen = Sight.union(self._of(name) for name in reads(node))
        same = standard(node)
        if not seen.inputs or same.op_type in SHAPE_ONLY:
            return Sight()
        if same.op_type in CONVOLUTIONS | POOLINGS | GLOBAL_POOLINGS:
            self._spatial.update(dict.fromkeys(self._of(same.input[0]).sources(2)))
        if any(self.depends(name) for name in {*reads(node)} - {*same.input}):
            return seen.blurred  # scales of the picture itself, or what bodies capture
        return Sight(seen.inputs, self._looked_through(same).places)

    def _looked_through(self, node: onnx.NodeProto) -> Sight:
        if node.op_type == "Conv" and len(node.input) > ADDED:  # onnxruntime's own
            plain = onnx.helper.make_node("Conv", node.input[:ADDED], node.output)
            plain.attribute.extend(node.attribute)
            return Sight.union([self._looked_through(plain), self._of(node.input[ADDED])])
        first = self._of(node.input[0]) if node.input else Sight()
        steered = any(self.depends(name) for name in node.input if name != node.input[0])
        if node.op_type not in RULES or (steered and node.op_type not in JOINING):
            return first.blurred
        return RULES[node.op_type](self, node, first)

    def _of(self, name: str) -> Sight:
        return self._sights.get(name, Sight())

    def _rank(self, name: str) -> int | None:
        return len(self._shapes[name]) if name in self._shapes else None

    def _numbers(self, node: onnx.NodeProto, place: int, attribute: str) -> list[int] | None:
        """Numbers that older opsets have as an attribute, newer ones as an input; None if they are not given.

        Raises _Unknown where they are computed.
        """
        settings = attributes(node)
        if attribute in settings:
            return list(settings[attribute])
        if len(node.input) <= place or not node.input[place]:
            return None
        if node.input[place] not in self._values:
            raise _Unknown
        return self._values[node.input[place]]

    def _elementwise(self, node: onnx.NodeProto, first: Sight) -> Sight:
        names = [name for name in node.input if name]
        if len(names) == 1:
            return first
        if node.op_type in ("BatchNormalization", "QuantizeLinear", "DequantizeLinear", "Dropout", "Clip"):
            return first  # the others are constants, one for each channel or one for all
        shapes = [self._shapes.get(name) for name in names]
        known = [shape for shape in shapes if shape is not None]
        if len(known) < len(shapes):
            return first.blurred
        rank = max(map(len, known))
        longest = [max((_extent(shape, axis - rank) for shape in known), default=1) for axis in range(rank)]
        return Sight.union(_broadcast(self._of(name), shape, longest) for name, shape in zip(names, known, strict=True))

    def _windowed(self, node: onnx.NodeProto, first: Sight) -> Sight:
        seen = window(node, self._shapes)
        mixed = first.without([1]) if node.op_type in CONVOLUTIONS else first
        rank = len(seen.kernel) if seen else 0
        if seen is None or seen.padding is None or rank != (self._rank(node.input[0]) or rank + 2) - 2:
            return _wide_in_space(mixed)
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

        return mixed.changed(slid)

    def _pooled_whole(self, node: onnx.NodeProto, first: Sight) -> Sight:  # noqa: ARG002 - a rule as the others are
        return _wide_in_space(first)

    def _kept(self, node: onnx.NodeProto, first: Sight) -> Sight:
        """Along one axis everything is mixed."""
        return first.spread(self._axis(node, default=-1))

    def _split(self, node: onnx.NodeProto, first: Sight) -> Sight:
        """The parts begin at different places of that axis, one row would not do for them."""
        return first.spread(self._axis(node, default=0))

    def _mixed_from(self, node: onnx.NodeProto, first: Sight) -> Sight:
        """From one axis on everything is mixed; softmax of one axis since opset 13."""
        if node.op_type != "LayerNormalization" and self._opset >= 13:
            return self._kept(node, first)
        [axis] = self._axis(node, default=-1 if node.op_type == "LayerNormalization" else 1)
        return first.changed(lambda place, span: None if place >= axis else span)

    def _axis(self, node: onnx.NodeProto, default: int) -> list[int]:
        axis = int(attributes(node).get("axis", default))
        return self._positive([axis], node.input[0])

    def _positive(self, axes: Iterable[int], name: str) -> list[int]:
        rank = self._rank(name)
        axes = list(axes)
        if rank is None and any(axis < 0 for axis in axes):
            raise _Unknown
        return [axis + (rank or 0) if axis < 0 else axis for axis in axes]

    def _across_channels(self, node: onnx.NodeProto, first: Sight) -> Sight:  # noqa: ARG002
        return first.spread([1])

    def _reduced(self, node: onnx.NodeProto, first: Sight) -> Sight:
        settings = attributes(node)
        axes = self._numbers(node, 1, "axes")
        if not axes:
            return first if settings.get("noop_with_empty_axes", 0) else first.blurred
        gone = self._positive(axes, node.input[0])
        return first.spread(gone) if settings.get("keepdims", 1) else first.moved(lambda axis: _closed_up(axis, gone))

    def _best(self, node: onnx.NodeProto, first: Sight) -> Sight:
        gone = self._axis(node, default=0)
        keeps = attributes(node).get("keepdims", 1)
        return first.spread(gone) if keeps else first.moved(lambda axis: _closed_up(axis, gone))

    def _transposed(self, node: onnx.NodeProto, first: Sight) -> Sight:
        rank = self._rank(node.input[0])
        order = attributes(node).get("perm") or (list(range(rank))[::-1] if rank else [])
        return first.moved(lambda axis: list(order).index(axis) if axis in order else None)

    def _flattened(self, node: onnx.NodeProto, first: Sight) -> Sight:
        return first.moved(lambda axis: 0 if axis == 0 and attributes(node).get("axis", 1) == 1 else None)

    def _reshaped(self, node: onnx.NodeProto, first: Sight) -> Sight:
        """Axes that keep their length, counted from either end, are what they were."""
        before, after = self._shapes.get(node.input[0], ()), self._shapes.get(node.output[0], ())
        head = _alike(before, after)
        tail = _alike(before[head:][::-1], after[head:][::-1])
        grown = len(after) - len(before)
        return first.moved(lambda axis: axis if axis < head else axis + grown if axis >= len(before) - tail else None)

    def _squeezed(self, node: onnx.NodeProto, first: Sight) -> Sight:
        axes = self._numbers(node, 1, "axes")
        if axes is None:
            shape = self._shapes.get(node.input[0])
            if shape is None or not all(isinstance(length, int) for length in shape[1:]):
                return first.blurred
            axes = [axis for axis, length in enumerate(shape) if length == 1]
        gone = self._positive(axes, node.input[0])
        return first.moved(lambda axis: _closed_up(axis, gone))

    def _unsqueezed(self, node: onnx.NodeProto, first: Sight) -> Sight:
        axes = self._numbers(node, 1, "axes")
        if not axes:
            return first.blurred
        new = set(self._positive(axes, node.output[0]))
        rank = self._rank(node.output[0])
        old = [axis for axis in range(rank or 0) if axis not in new]
        return first.moved(lambda axis: old[axis] if axis < len(old) else None)

    def _joined(self, node: onnx.NodeProto, first: Sight) -> Sight:  # noqa: ARG002
        along = self._axis(node, default=1)
        return Sight.union(self._of(name).spread(along) for name in node.input)

    def _sliced(self, node: onnx.NodeProto, first: Sight) -> Sight:
        starts = self._numbers(node, 1, "starts") or []
        axes = self._numbers(node, 3, "axes") or list(range(len(starts)))
        steps = self._numbers(node, 4, "steps") or [1] * len(starts)
        axes = self._positive(axes, node.input[0])
        cuts = {axis: (start, step) for axis, start, step in zip(axes, starts, steps, strict=False)}
        shape = self._shapes.get(node.input[0], ())

        def cut(axis: int, span: Span) -> Span | None:
            start, step = cuts.get(axis, (0, 1))
            length = shape[axis] if axis < len(shape) else None
            if step < 1 or (start < 0 and not isinstance(length, int)):
                return None
            if isinstance(length, int):
                start = min(max(start + length if start < 0 else start, 0), length)
            return span.through(1, step, -start)

        return first.changed(cut)

    def _padded(self, node: onnx.NodeProto, first: Sight) -> Sight:
        if attributes(node).get("mode") == b"wrap":
            return first.blurred
        pads = self._numbers(node, 1, "pads") or self._numbers(node, 1, "paddings") or []
        axes = self._numbers(node, 3, "axes") or list(range(len(pads) // 2))
        before = dict(zip(self._positive(axes, node.input[0]), pads, strict=False))
        return first.changed(lambda axis, span: span.through(1, 1, before.get(axis, 0)))

    def _gathered(self, node: onnx.NodeProto, first: Sight) -> Sight:
        [along] = self._axis(node, default=0)
        rank = self._rank(node.input[1])
        if rank is None:
            return first.blurred
        return first.moved(lambda axis: axis if axis < along else None if axis == along else axis + rank - 1)

    def _multiplied(self, node: onnx.NodeProto, first: Sight) -> Sight:  # noqa: ARG002
        """Of the left one, the last axis is summed over, of the right one the last but one."""
        ranks = [self._rank(name) for name in node.input[:2]]
        if None in ranks or min(rank or 0 for rank in ranks) < 2:
            return Sight()
        widest = max(rank or 0 for rank in ranks)
        sights = []
        for name, rank, summed in zip(node.input, ranks, (-1, -2), strict=False):
            shift = widest - (rank or 0)
            sight = self._of(name).without([(rank or 0) + summed])
            sights.append(sight.shifted(shift))
        return Sight.union(sights)

    def _resized(self, node: onnx.NodeProto, first: Sight) -> Sight:
        """Axes keep their place; only where the length stays the same, each place still sees what it saw."""
        before, after = self._shapes.get(node.input[0], ()), self._shapes.get(node.output[0], ())
        crops = attributes(node).get("coordinate_transformation_mode") == b"tf_crop_and_resize"
        same = _same_axes(before, after) if not crops else set()
        return first.changed(lambda axis, span: span if axis in same else None)

    def _blocked(self, node: onnx.NodeProto, first: Sight) -> Sight:
        block = int(attributes(node)["blocksize"])
        return first.without([1]).changed(lambda axis, span: span if axis < 2 else span.through(block, block))

    def _unblocked(self, node: onnx.NodeProto, first: Sight) -> Sight:  # noqa: ARG002
        return _wide_in_space(first.without([1]))


class _Unknown(Exception):
    """Numbers that steer a node are computed while it runs."""


Rule = Callable[[Tracer, onnx.NodeProto, Sight], Sight]


def _careful(rule: Rule) -> Rule:
    def ruled(tracer: Tracer, node: onnx.NodeProto, first: Sight) -> Sight:
        try:
            return rule(tracer, node, first)
        except (_Unknown, IndexError):  # the latter: a node that lacks inputs which its operator needs
            return first.blurred

    return ruled


_BY_RULE: dict[Rule, Iterable[str]] = {
    Tracer._elementwise: ELEMENTWISE,
    Tracer._windowed: CONVOLUTIONS | POOLINGS,
    Tracer._pooled_whole: GLOBAL_POOLINGS | {"InstanceNormalization"},
    Tracer._kept: ("LpNormalization",),
    Tracer._split: ("Split",),
    Tracer._mixed_from: ("Softmax", "LogSoftmax", "Hardmax", "LayerNormalization"),
    Tracer._across_channels: ("LRN",),
    Tracer._reduced: REDUCTIONS,
    Tracer._best: ("ArgMax", "ArgMin"),
    Tracer._transposed: ("Transpose",),
    Tracer._flattened: ("Flatten",),
    Tracer._reshaped: ("Reshape",),
    Tracer._squeezed: ("Squeeze",),
    Tracer._unsqueezed: ("Unsqueeze",),
    Tracer._joined: ("Concat",),
    Tracer._sliced: ("Slice",),
    Tracer._padded: ("Pad",),
    Tracer._gathered: ("Gather",),
    Tracer._multiplied: ("MatMul",),
    Tracer._resized: ("Resize", "Upsample", "Expand"),
    Tracer._blocked: ("SpaceToDepth",),
    Tracer._unblocked: ("DepthToSpace",),
}
RULES: dict[str, Rule] = {op: _careful(rule) for rule, ops in _BY_RULE.items() for op in ops}
JOINING = (ELEMENTWISE | {"Concat", "MatMul"}) - {"BatchNormalization", "QuantizeLinear", "DequantizeLinear", "Clip"}
"""Operators whose operands are all looked through; elsewhere, one that depends on the pixels steers the whole."""


def _wide_in_space(sight: Sight) -> Sight:
    return sight.changed(lambda axis, span: span if axis < 2 else None)


def _closed_up(axis: int, gone: Sequence[int]) -> int | None:
    return None if axis in gone else axis - sum(other < axis for other in gone)


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
