"""Folding: the numbers that a graph computes of lengths alone, as half of its channels, worked out.

ONNX's own inference gives up at the first division, and with it on every shape behind.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from service.inference.graph.operators import standard
from service.inference.graph.steering import LARGEST_STEERING, Array, small_constants

Lengths = tuple[int | None, ...]
"""The shape of a tensor for one size of batch; None is a length that is not known."""

# fmt: off
MOVING = frozenset({"Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that pick and move numbers of their first input, and change none."""
ARITHMETIC = MOVING | {
    "Abs", "Add", "And", "Cast", "Ceil", "Concat", "Div", "Equal", "Floor", "Greater", "GreaterOrEqual", "Less",
    "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum",
    "Round", "Sqrt", "Sub", "Where",
}
# fmt: on
MOST_AXES = 2
"""Lengths and pads come in rows, at most in pairs; so no result is ever large."""


class Folding:
    """Of one graph at one size of batch; what it has worked out is put in place of the nodes that compute it."""

    def __init__(self, graph: onnx.GraphProto, opset: int) -> None:
        self._graph = graph
        self._opset = opset
        self._known = small_constants(graph)
        self._shapes: Mapping[str, Lengths] = {}
        self._picks: dict[str, tuple[Array, str]] = {}
        """Names of tensors that hold lengths of another one: at which axes of it, and its name."""

    def fold(self, shapes: Mapping[str, Lengths]) -> dict[str, Array]:
        """What can be worked out now that these shapes are known, by name."""
        self._shapes = shapes
        graph, outputs = self._graph, {value.name for value in self._graph.output}
        done = [
            index for index, node in enumerate(graph.node) if self._settles(node) and outputs.isdisjoint(node.output)
        ]
        made = {name: self._known[name] for index in done for name in graph.node[index].output if name}
        for index in reversed(done):
            del graph.node[index]
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in made.items())
        return made

    def _settles(self, node: onnx.NodeProto) -> bool:
        """Whether all that `node` yields is known now."""
        node = standard(node)
        if not node.input:
            return False
        if node.op_type == "Shape":
            self._measure(node)
        elif self._is_computed(node):
            self._learn(node)
        elif node.op_type in MOVING and node.input[0] in self._picks and self._has(node.input[1:]):
            self._move(node)
        return self._has(node.output)

    def _has(self, names: Iterable[str]) -> bool:
        return self._known.keys() >= {*filter(None, names)}

    def _is_computed(self, node: onnx.NodeProto) -> bool:
        if node.op_type == "ConstantOfShape" and self._has(node.input):
            return int(np.prod(self._known[node.input[0]])) <= LARGEST_STEERING
        flat = self._has(node.input) and all(self._known[name].ndim <= MOST_AXES for name in node.input if name)
        return node.op_type in ARITHMETIC and flat

    def _measure(self, node: onnx.NodeProto) -> None:
        if node.input[0] in self._shapes:
            settings = {attribute.name: attribute.i for attribute in node.attribute}
            axes = np.arange(len(self._shapes[node.input[0]]), dtype=np.int64)
            self._pick(node.output[0], axes[settings.get("start", 0) : settings.get("end")], node.input[0])

    def _move(self, node: onnx.NodeProto) -> None:
        """What becomes of the numbers of the axes says of which axes the lengths are taken."""
        axes, measured = self._picks[node.input[0]]
        if self._picks.keys() >= {*node.output}:
            moved = [self._picks[name][0] for name in node.output]
        else:
            moved = self._run(node, {**self._known, node.input[0]: axes})
        for name, picked in zip(node.output, moved, strict=False):
            self._pick(name, picked, measured)

    def _pick(self, name: str, axes: Array, measured: str) -> None:
        self._picks[name] = axes, measured
        taken = [self._shapes[measured][axis] for axis in axes.ravel()]
        if None not in taken:
            self._known[name] = np.array(taken, np.int64).reshape(axes.shape)

    def _run(self, node: onnx.NodeProto, values: Mapping[str, Array]) -> list[Array]:
        feeds = {name: values[name] for name in node.input if name}
        try:
            with np.errstate(all="raise"):
                results = ReferenceEvaluator(node, opsets={"": self._opset}).run(None, feeds)
        except Exception:  # the graph is wrong here; whoever runs it will say so
            return []
        return [np.asarray(result) for result in results]

    def _learn(self, node: onnx.NodeProto) -> None:
        named = zip(node.output, self._run(node, self._known), strict=False)
        self._known.update((name, value) for name, value in named if value.size <= LARGEST_STEERING)
