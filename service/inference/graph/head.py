"""LinearHead: the way from the last spatial layer to the class scores, where it is linear."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from service.inference.graph.subgraph import producers
from service.inference.graph.window import attributes

Numbers = NDArray[np.float64]
TRANSPARENT = frozenset({"Identity", "Dropout", "Cast"})
RESHAPING = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
ACTIVATIONS = frozenset({"Softmax", "Sigmoid"})
CHANNELS_LAST = (0, 2, 3, 1)
MOST_STEPS = 32  # a head is short; a longer one is none


@dataclass(frozen=True)
class LinearHead:
    """`logits = weights @ features + bias`, where the features are those of one spatial layer.

    They are its [C, H, W], averaged over all places where `averaged`, else all of them in a row. Without `weights`,
    feature number c is the score of class c.
    """

    layer: str
    """The last spatial layer."""
    logits: str
    """The layer that holds the scores, before softmax or sigmoid."""
    averaged: bool
    channels_last: bool
    weights: Numbers | None
    """[classes, features]"""
    bias: Numbers

    def maps(self, features: NDArray[Any], index: int) -> tuple[Numbers, float] | None:
        """The part of each place in the score of class `index`: [H, W], and the bias; their sum is that logit.

        `features` are [C, H, W], or [H, W, C] if `channels_last`. CAM, as in Zhou, Khosla, Lapedriza, Oliva and
        Torralba, "Learning deep features for discriminative localization" (2016); without averaging, each place has
        weights of its own. None where the layer has other features than the head has weights for.
        """
        if features.ndim != 3:
            return None
        axis = -1 if self.channels_last else 0
        values = features.astype(np.float64)
        places = values.size // max(values.shape[axis], 1)
        wanted = values.shape[axis] if self.averaged else values.size
        weights = np.eye(wanted) if self.weights is None else self.weights
        if weights.shape[1] != wanted or index >= len(weights):
            return None
        row = weights[index]
        if not self.averaged:
            return (values * row.reshape(values.shape)).sum(axis=axis), self._bias(index)
        return np.tensordot(np.moveaxis(values, axis, -1), row, 1) / places, self._bias(index)

    def _bias(self, index: int) -> float:
        return float(self.bias[index] if self.bias.size > 1 else self.bias.sum())

    @classmethod
    def of(cls, model: onnx.ModelProto, output: str) -> Self | None:
        """Read it off the graph, backwards from `output`; None where there is a layer in between that is not linear."""
        found = _Walk(model.graph).to_space(output)
        return cls(**vars(found)) if found else None


@dataclass(frozen=True)
class _Linear:
    """What lies behind the place where the walk has come to."""

    logits: str | None = None
    weights: Numbers | None = None
    bias: Numbers | None = None

    def after(self, weights: Numbers, offset: Numbers | None) -> "_Linear":
        """With `weights @ x + offset` before it; `weights` are [out, in]."""
        here = self if offset is None else self.plus(offset)
        return replace(here, weights=weights if here.weights is None else here.weights @ weights)

    def plus(self, offset: Numbers) -> "_Linear":
        """With a constant added before it."""
        moved = offset if self.weights is None else self.weights @ np.broadcast_to(offset, self.weights.shape[1])
        return replace(self, bias=moved if self.bias is None else self.bias + moved)


class _Walk:
    """From the scores backwards, node by node, as long as each is linear."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._nodes = graph.node
        self._made_by = producers(graph)
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._tensors |= {
            node.output[0]: node.attribute[0].t
            for node in graph.node
            if node.op_type == "Constant" and node.attribute[0].type == onnx.AttributeProto.TENSOR
        }
        self._steps: dict[str, Callable[[onnx.NodeProto, _Linear], tuple[str, _Linear] | None]] = {
            "Gemm": self._gemm,
            "MatMul": self._matmul,
            "Add": self._add,
            "Conv": self._pointwise,
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
            if space := self._space(node, behind):
                return space
            if node.op_type in TRANSPARENT | RESHAPING:
                place = node.input[0]
            elif step := self._steps.get(node.op_type, _none)(node, behind):
                place, behind = step
            else:
                return None
        return None

    def _maker(self, name: str) -> onnx.NodeProto | None:
        return self._nodes[self._made_by[name]] if name in self._made_by else None

    def _space(self, node: onnx.NodeProto, behind: _Linear) -> LinearHead | None:
        """The head, if `node` is where space ends: the mean over all places, or a reshape of what was no mean."""
        if (last := self._averages(node)) is not None:
            return _head(node.input[0], behind, averaged=True, channels_last=last)
        if node.op_type not in RESHAPING or behind.weights is None or self._has_no_space(node.input[0]):
            return None
        before = self._maker(node.input[0])
        last = before is not None and before.op_type == "Transpose" and _perm(before) == CHANNELS_LAST
        return _head(node.input[0], behind, averaged=False, channels_last=last)

    def _has_no_space(self, name: str) -> bool:
        """Whether the tensor is a mean over all places, or was made from one by what keeps it without places."""
        node = self._maker(name)
        if node is None:
            return False
        if self._averages(node) is not None or node.op_type in ("Gemm", "MatMul"):
            return True
        linear = node.op_type in TRANSPARENT | RESHAPING | {"Add", "Conv"}
        return linear and self._has_no_space(node.input[0])

    def _averages(self, node: onnx.NodeProto) -> bool | None:
        """Whether `node` takes the mean over height and width: with the channels last (True) or first (False)."""
        if node.op_type == "GlobalAveragePool":
            return False
        if node.op_type != "ReduceMean":
            return None
        axes = attributes(node).get("axes") or (self._constant(node.input[1]) if len(node.input) > 1 else None)
        found = sorted(int(axis) % 4 for axis in np.ravel(axes)) if axes is not None else []
        return {"2, 3": False, "1, 2": True}.get(", ".join(map(str, found)))

    def _gemm(self, node: onnx.NodeProto, behind: _Linear) -> tuple[str, _Linear] | None:
        settings, weights = attributes(node), self._constant(node.input[1])
        offset = self._constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if weights is None or settings.get("transA", 0) or (offset is None and len(node.input) > 2 and node.input[2]):
            return None
        weights = settings.get("alpha", 1.0) * (weights if settings.get("transB", 0) else weights.T)
        shift = None if offset is None else settings.get("beta", 1.0) * _vector(offset, len(weights))
        return node.input[0], behind.after(weights, shift)

    def _matmul(self, node: onnx.NodeProto, behind: _Linear) -> tuple[str, _Linear] | None:
        weights = self._constant(node.input[1])
        if weights is None or weights.ndim != 2:
            return None
        return node.input[0], behind.after(weights.T, None)

    def _add(self, node: onnx.NodeProto, behind: _Linear) -> tuple[str, _Linear] | None:
        for place, other in (node.input, reversed(node.input)):
            if (offset := self._constant(other)) is not None:
                return place, behind.plus(offset.ravel())
        return None

    def _pointwise(self, node: onnx.NodeProto, behind: _Linear) -> tuple[str, _Linear] | None:
        """A convolution of a single place is a dense layer; whether it is one, shows where the walk ends."""
        weights = self._constant(node.input[1])
        offset = self._constant(node.input[2]) if len(node.input) > 2 else None
        if weights is None or weights.shape[2:] != (1, 1) or attributes(node).get("group", 1) != 1:
            return None
        if not self._has_no_space(node.input[0]):
            return None
        return node.input[0], behind.after(weights[:, :, 0, 0], offset)

    def _constant(self, name: str) -> Numbers | None:
        tensor = self._tensors.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor).astype(np.float64)


def _head(layer: str, behind: _Linear, *, averaged: bool, channels_last: bool) -> LinearHead:
    bias = np.zeros(1) if behind.bias is None else behind.bias
    return LinearHead(layer, behind.logits or layer, averaged, channels_last, behind.weights, bias)


def _none(node: onnx.NodeProto, behind: _Linear) -> None:
    """Any other node is not known to be linear."""


def _vector(offset: Numbers, length: int) -> Numbers:
    return np.broadcast_to(offset.ravel(), length)


def _perm(node: onnx.NodeProto) -> Sequence[int]:
    return tuple(attributes(node).get("perm", ()))
