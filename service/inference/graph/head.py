"""LinearHead: the way from the last spatial layer to the class scores, where it is linear but for a pooling."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from service.inference.graph.axes import ACROSS, CHANNELS, DOWN, Order
from service.inference.graph.operators import STANDARD, opset_of
from service.inference.graph.receptive_field import Span
from service.inference.graph.shapes import infer
from service.inference.graph.subgraph import initialiser_names, producers
from service.inference.graph.tracing import Tracer
from service.inference.graph.window import attributes

Numbers = NDArray[np.float64]
Pooling = Literal["average", "maximum"]
TRANSPARENT = frozenset({"Identity", "Dropout", "Cast"})
RESHAPING = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
ACTIVATIONS = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
POOLINGS: dict[str, Pooling] = {
    **dict.fromkeys(("GlobalAveragePool", "ReduceMean", "AveragePool"), "average"),
    **dict.fromkeys(("GlobalMaxPool", "ReduceMax", "MaxPool"), "maximum"),
}
ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div"})
MOST_STEPS = 32  # a head is short; a longer one is none


@dataclass(frozen=True)
class LinearHead:
    """`logits = weights @ features + bias`, where the features are those of one spatial layer.

    Each is the average of its channel over all places, or its maximum, as `pooling` says; without, they are all values
    in a row, as the layer has them. `weights` may be factors, one for all or one for each; without any, feature number
    c is the score of class c.
    """

    layer: str
    """The last spatial layer, or the graph's input."""
    logits: str
    """The layer that holds the scores, before softmax or sigmoid."""
    pooling: Pooling | None
    order: Order
    """What each axis of the layer is, the batch first."""
    spans: tuple[Span | None, Span | None]
    """What its places see of the input, down and across; None: all, or nothing regular, but they cover it evenly."""
    weights: Numbers | None
    """[classes, features], or [features], or a number"""
    bias: Numbers

    @property
    def turned(self) -> bool:
        """Whether the layer has its width before its height."""
        return self.order.index(ACROSS) < self.order.index(DOWN)

    def maps(self, features: NDArray[Any], index: int) -> tuple[Numbers, float] | None:
        """The part of each place in the score of class `index`: [H, W], and the bias; their sum is that logit.

        `features` are those of one input, in the layer's own order of axes. CAM, as in Zhou, Khosla, Lapedriza, Oliva
        and Torralba, "Learning deep features for discriminative localization" (2016); where a maximum is taken, what a
        channel counts lies where that stands, in equal parts where it stands at several places; without pooling, each
        place has weights of its own. None where the layer has other features than the head has weights for.
        """
        if features.ndim != len(self.order) - 1:
            return None
        axis = self.order.index(CHANNELS) - 1
        values = features.astype(np.float64)
        wanted = values.shape[axis] if self.pooling else values.size
        row = self._row(wanted, index)
        if row is None:
            return None
        if self.pooling:
            values = np.tensordot(np.moveaxis(self._parts(values, axis), axis, -1), row, 1)
        else:
            values = (values * row.reshape(values.shape)).sum(axis=axis)
        return values.T if self.turned else values, float(self.bias[index] if self.bias.size > 1 else self.bias.sum())

    def _parts(self, values: Numbers, axis: int) -> Numbers:
        """What each place has of its channel's average or maximum; `axis` is the channels'."""
        space = tuple(other for other in range(values.ndim) if other != axis)
        there = np.ones(values.shape, bool)
        if self.pooling == "maximum":  # past what is no number, as most of onnxruntime's kernels go
            there = values == np.fmax.reduce(values, axis=space, keepdims=True, initial=-np.inf)
        parts: Numbers = np.where(there, values, 0.0) / np.maximum(there.sum(axis=space, keepdims=True), 1)
        return parts

    def _row(self, wanted: int, index: int) -> Numbers | None:
        """What each of `wanted` features counts for class `index`; None where there are not that many of them."""
        if self.weights is None or self.weights.ndim < 2:
            if index >= wanted or (self.weights is not None and self.weights.size not in (1, wanted)):
                return None
            row = np.zeros(wanted)
            row[index] = 1.0 if self.weights is None else np.broadcast_to(self.weights, wanted)[index]
            return row
        fits = self.weights.shape[1] == wanted and index < len(self.weights)
        return self.weights[index] if fits else None

    @classmethod
    def of(
        cls,
        model: onnx.ModelProto,
        output: str,
        inputs: Mapping[str, Order] | None = None,
    ) -> Self | None:
        """Read it off the graph, backwards from `output`; None where one in between is neither linear nor a pooling.

        `inputs` says what the axes of the graph's inputs are. None, too, where it is not certain what the axes of the
        last spatial layer are, or where in the picture its places lie.
        """
        try:
            found = _Walk(model, inputs or {}).to_space(output)
        except ValueError:  # numpy's, of constants whose shapes do not fit: whatever that is, it is no linear head
            return None
        return cls(**vars(found)) if found else None


@dataclass(frozen=True)
class _Linear:
    """What lies behind the place where the walk has come to."""

    logits: str | None = None
    weights: Numbers | None = None
    """[out, in]; or factors, one for each feature or one for all; None: as it is."""
    bias: Numbers | None = None

    @property
    def is_dense(self) -> bool:
        return self.weights is not None and self.weights.ndim == 2

    def after(self, weights: Numbers, offset: Numbers | None) -> "_Linear":
        """With `weights @ x + offset` before it; `weights` are [out, in]."""
        here = self if offset is None else self.plus(offset)
        if here.weights is None:
            return replace(here, weights=weights)
        if here.weights.ndim == 2:
            return replace(here, weights=here.weights @ weights)
        return replace(here, weights=weights * (here.weights[:, np.newaxis] if here.weights.ndim else here.weights))

    def plus(self, offset: Numbers) -> "_Linear":
        """With a constant added before it."""
        if self.weights is None or not self.is_dense:
            moved = offset * (1.0 if self.weights is None else self.weights)
        else:
            moved = self.weights @ np.broadcast_to(offset, self.weights.shape[1])
        return replace(self, bias=moved if self.bias is None else self.bias + moved)

    def times(self, factors: Numbers) -> "_Linear":
        """With constant factors before it: one for all, or one for each."""
        return replace(self, weights=factors if self.weights is None else self.weights * factors)


class _Walk:
    """From the scores backwards, node by node, as long as each is linear."""

    def __init__(self, model: onnx.ModelProto, inputs: Mapping[str, Order]) -> None:
        graph, known = model.graph, infer(model)
        unsaid = {name: (None,) * len(order) for name, order in inputs.items() if not known.shapes.get(name)}
        known = replace(known, shapes={**known.shapes, **unsaid})
        self._nodes = graph.node
        self._made_by = producers(graph)
        self._inputs = inputs
        self._shapes = known.shapes
        initialisers = initialiser_names(graph)
        fed = [value.name for value in graph.input if value.name not in initialisers]
        self._tracer = Tracer(graph, fed, known, opset_of(model))
        firsts = [value.type.tensor_type.shape.dim[:1] for value in graph.input]
        self._batches = {"N", 1} | {first[0].dim_value for first in firsts if first} - {0}
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._tensors |= {
            node.output[0]: node.attribute[0].t
            for node in graph.node
            if node.op_type == "Constant" and [each.type for each in node.attribute] == [onnx.AttributeProto.TENSOR]
        }
        self._steps: dict[str, Callable[[onnx.NodeProto, _Linear], tuple[str, _Linear] | None]] = {
            "Gemm": self._gemm,
            "MatMul": self._matmul,
            "Conv": self._pointwise,
            **dict.fromkeys(ELEMENTWISE, self._elementwise),
        }

    def to_space(self, output: str) -> LinearHead | None:
        place, behind = output, _Linear()
        for _ in range(MOST_STEPS):
            node = self._maker(place)
            if node is None:
                return None
            if node.op_type in ACTIVATIONS and behind == _Linear():
                place = node.input[0]
                behind = replace(behind, logits=place)
                continue
            if behind.logits is None and node.op_type not in TRANSPARENT | RESHAPING:
                behind = replace(behind, logits=place)
            if self._is_end_of_space(node, behind):
                return self._head(node, behind)
            if node.op_type in TRANSPARENT | RESHAPING:
                place = node.input[0]
            elif step := self._steps.get(node.op_type, _none)(node, behind):
                place, behind = step
            else:
                return None
        return None

    def _maker(self, name: str) -> onnx.NodeProto | None:
        """None where nobody makes it, what no standard says is linear, or as another output than the first."""
        node = self._nodes[self._made_by[name]] if name in self._made_by else None
        return node if node is not None and node.domain in STANDARD and node.output[0] == name else None

    def _is_end_of_space(self, node: onnx.NodeProto, behind: _Linear) -> bool:
        """Whether `node` pools over whole axes, or reshapes what was not pooled so."""
        if self._pooled(node):
            return True
        if node.op_type not in RESHAPING or not behind.is_dense or self._features(node.input[0]) is not None:
            return False
        before = self._maker(node.input[0])
        return before is None or not self._pooled(before)

    def _head(self, node: onnx.NodeProto, behind: _Linear) -> LinearHead | None:
        """None unless it is certain where its places lie, and a pooling is one over height and width."""
        layer, pooling = node.input[0], POOLINGS.get(node.op_type)
        found = self._places(layer)
        if found is None:
            return None
        order, spans = found
        if pooling and {order[axis] for axis in self._pooled(node)} != {DOWN, ACROSS}:
            return None
        bias = np.zeros(1) if behind.bias is None else behind.bias
        return LinearHead(layer, behind.logits or layer, pooling, order, spans, behind.weights, bias)

    def _places(self, layer: str) -> tuple[Order, tuple[Span | None, Span | None]] | None:
        """What the axes of a layer are, and what its places see; None where that is uncertain or they lie unevenly."""
        places = self._tracer.places(layer)
        for name, given in self._inputs.items():
            down, across = (places.get((name, given.index(axis))) for axis in (DOWN, ACROSS))
            batch = places.get((name, given.index(0)))
            if down is None or across is None or len(self._shapes.get(layer, given)) != len(given):
                continue
            if not all(place.span or place.even for place in (down, across)) or (batch and batch.axis != 0):
                continue
            order = {0: 0, down.axis: DOWN, across.axis: ACROSS}
            if len(order) == len(given) - 1:
                return tuple(order.get(axis, CHANNELS) for axis in range(len(given))), (down.span, across.span)
        return None

    def _features(self, name: str) -> int | None:
        """Which axis holds the features of a tensor that has one row of them for each input, and nothing else.

        None where it has more axes, unless they are of length 1, and where that is not known.
        """
        shape = self._shapes.get(name, ())
        if len(shape) < 2 or shape[0] not in self._batches:
            return None
        long = [axis for axis, length in enumerate(shape) if axis and length != 1] or [len(shape) - 1]
        return long[0] if len(long) == 1 and isinstance(shape[long[0]], int) else None

    def _pooled(self, node: onnx.NodeProto) -> set[int]:
        """The axes over all of which `node` pools, if it names none a picture's; below 0 counted from the last."""
        if node.op_type not in POOLINGS:
            return set()
        if node.op_type.startswith("Global"):
            return {2, 3}
        if node.op_type.endswith("Pool"):
            return {2, 3} if self._covers_all(node) else set()
        axes = attributes(node).get("axes") or (self._constant(node.input[1]) if len(node.input) > 1 else None)
        return set() if axes is None else {int(axis) for axis in np.ravel(axes)}

    def _covers_all(self, node: onnx.NodeProto) -> bool:
        """Whether a pooling's one window is the whole map, and nothing of it padding."""
        settings, extents = attributes(node), self._shapes.get(node.input[0], ())[2:]
        plain = not any(settings.get("pads", ())) and settings.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
        return plain and not settings.get("ceil_mode", 0) and tuple(settings["kernel_shape"]) == tuple(extents)

    def _gemm(self, node: onnx.NodeProto, behind: _Linear) -> tuple[str, _Linear] | None:
        settings, weights = attributes(node), self._constant(node.input[1])
        offset = self._constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if weights is None or settings.get("transA", 0) or (offset is None and len(node.input) > 2 and node.input[2]):
            return None
        weights = weights if settings.get("transB", 0) else weights.T
        if self._features(node.input[0]) is None or (offset is not None and offset.size not in (1, len(weights))):
            return None
        shift = None if offset is None else settings.get("beta", 1.0) * np.broadcast_to(offset.ravel(), len(weights))
        alpha = settings.get("alpha", 1.0)
        return node.input[0], behind.after(weights if alpha == 1 else alpha * weights, shift)

    def _matmul(self, node: onnx.NodeProto, behind: _Linear) -> tuple[str, _Linear] | None:
        """It multiplies along the last axis, whatever the others are: a dense layer only where that is the features."""
        weights, axis = self._constant(node.input[1]), self._features(node.input[0])
        if weights is None or weights.ndim != 2 or axis is None or axis != len(self._shapes[node.input[0]]) - 1:
            return None
        return node.input[0], behind.after(weights.T, None)

    def _elementwise(self, node: onnx.NodeProto, behind: _Linear) -> tuple[str, _Linear] | None:
        """A constant added, taken away, multiplied with or divided by: one for all features, or one for each."""
        for place, other in (node.input, reversed(node.input)):
            found = self._constant(other)
            if found is None or (node.op_type in ("Sub", "Div") and other != node.input[1]):
                continue
            axis = self._features(place)
            if axis is None or found.size == 0:
                return None
            row = (1, *self._shapes[place][1:])  # raises ValueError for a constant that makes more of the features
            constant = found.ravel() if found.size == 1 else np.broadcast_to(found, row).ravel()  # type: ignore[arg-type]
            if node.op_type in ("Add", "Sub"):
                return place, behind.plus(constant if node.op_type == "Add" else -constant)
            with np.errstate(divide="ignore"):
                factors = constant if node.op_type == "Mul" else 1.0 / constant
            return (place, behind.times(factors)) if np.isfinite(factors).all() else None
        return None

    def _pointwise(self, node: onnx.NodeProto, behind: _Linear) -> tuple[str, _Linear] | None:
        """A convolution of a single place is a dense layer."""
        weights = self._constant(node.input[1])
        offset = self._constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if weights is None or weights.shape[2:] != (1, 1) or attributes(node).get("group", 1) != 1:
            return None
        if offset is None and len(node.input) > 2 and node.input[2]:
            return None
        if any(
            self._features(name) is None or self._shapes[name][2:] != (1, 1) for name in (*node.input[:1], *node.output)
        ):
            return None
        return node.input[0], behind.after(weights[:, :, 0, 0], offset)

    def _constant(self, name: str) -> Numbers | None:
        tensor = self._tensors.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor).astype(np.float64)


def _none(node: onnx.NodeProto, behind: _Linear) -> None:
    """Any other node is not known to be linear."""
