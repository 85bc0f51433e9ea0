"""Multiply-adds: how many products with its weights a node adds up, and whether anybody can know."""

from collections.abc import Iterable, Mapping, Set

import onnx

from service.inference.graph.operators import is_foreign, standard
from service.inference.graph.parameters import Weight, computed_constants, constant_nodes, held_by, weights_of
from service.inference.graph.shapes import Inferred, Shape
from service.inference.graph.subgraph import bodies
from service.inference.graph.window import CONVOLUTIONS, attributes

CONVOLVING = CONVOLUTIONS | {"DeformConv"}
RECURRENT = frozenset({"RNN", "GRU", "LSTM"})
MULTIPLYING = frozenset({"Gemm", "MatMul"})
# Sums of products in an order that is not worked out here; of no other standard operator does a sum run over weights.
UNCOUNTED = frozenset({"Attention", "CausalConvWithState", "DFT", "Einsum", "LinearAttention", "STFT"})
SEQUENCE_LENGTHS = 4
"""Which input of a recurrent operator cuts its sequences short."""


class MultiplyAdds:
    """Of one model, for one input of its batch; nodes are those that `operators.standard` gives."""

    def __init__(self, model: onnx.ModelProto, weights: Mapping[str, Weight], known: Inferred, batch: int) -> None:
        self._functions = {f"{function.domain}::{function.name}": function for function in model.functions}
        self._weights = weights
        self._constants = computed_constants(model.graph.node, weights)
        self._shapes, self._sizes = known.shapes, known.sizes
        self._batch = batch

    def are_done_by(self, node: onnx.NodeProto) -> bool:
        """Whether a product with a weight is summed in `node`, in its bodies or in its function, or may well be."""
        counted = node.op_type in CONVOLVING | RECURRENT | MULTIPLYING
        if not counted and self._constants.issuperset(filter(None, node.output)):
            return False  # weights made of weights, before any run
        return self._multiplies(node, self._constants, self._weights)

    def of(self, node: onnx.NodeProto) -> int | None:
        """How many; None for an operator that does none, that nobody knows, or of unknown extents."""
        if node.op_type in RECURRENT:
            return self._recurrent(node)
        if node.op_type in CONVOLVING | MULTIPLYING:
            many = self._numbers(node.input[0] if node.op_type == "ConvTranspose" else node.output[0])
            return times(many, product(self._factors(node)))
        return None

    def _multiplies(self, node: onnx.NodeProto, constants: Set[str], weights: Mapping[str, Weight]) -> bool:
        if node.op_type in CONVOLVING | RECURRENT:
            return True
        if node.op_type in MULTIPLYING:
            return not constants.isdisjoint(node.input[:2])
        if node.op_type in UNCOUNTED:
            return not constants.isdisjoint(node.input)
        if node.op_type in self._functions:
            return self._inside(self._functions[node.op_type], node, constants, weights)
        if is_foreign(node):
            return _holds_numbers(node, weights)
        return any(
            self._any(body.node, {*constants, *(inside := weights_of(body))}, {**weights, **inside})
            for body in bodies(node)
        )

    def _inside(
        self, function: onnx.FunctionProto, node: onnx.NodeProto, constants: Set[str], weights: Mapping[str, Weight]
    ) -> bool:
        own = constant_nodes(function.node)
        given = dict(zip(function.input, node.input, strict=False))
        fed = {name for name, outer in given.items() if outer in constants}
        passed = {name: weights[given[name]] for name in fed if given[name] in weights}
        return self._any(function.node, {*fed, *own}, {**passed, **own})

    def _any(self, nodes: Iterable[onnx.NodeProto], known: Set[str], weights: Mapping[str, Weight]) -> bool:
        nodes = list(nodes)
        constants = computed_constants(nodes, known)
        return any(self._multiplies(standard(node), constants, weights) for node in nodes)

    def _factors(self, node: onnx.NodeProto) -> Shape:
        """Lengths of the axes that one product runs over: each output is a sum of so many.

        Each input of a transposed convolution goes into so many.
        """
        right = self._shapes.get(node.input[1], (None,))
        if node.op_type in CONVOLVING:
            return right[1:] or (None,)
        if node.op_type == "Gemm" and attributes(node).get("transB", 0):
            return right[-1:]
        return right[-2:][:1]

    def _recurrent(self, node: onnx.NodeProto) -> int | None:
        """At each step of the sequence, each weight of the input and of the state before is used once."""
        if len(node.input) > SEQUENCE_LENGTHS and node.input[SEQUENCE_LENGTHS]:
            return None
        along = 1 if attributes(node).get("layout", 0) else 0
        steps = product(self._shapes.get(node.input[0], ())[along:][:1] or (None,))
        taken, kept = (product(self._shapes.get(name, (None,))) for name in node.input[1:3])
        return None if taken is None or kept is None else times(steps, taken + kept)

    def _numbers(self, name: str) -> int | None:
        """Numbers in a tensor for one input."""
        declared = product(length for length in self._shapes.get(name, (None,)) if length != "N")
        total = self._sizes.get(name, declared)
        return None if total is None else total // self._batch


def product(lengths: Iterable[int | str | None]) -> int | None:
    """Of all of them; None unless each is known."""
    found = 1
    for length in lengths:
        if not isinstance(length, int):
            return None
        found *= length
    return found


def times(one: int | None, other: int | None) -> int | None:
    """Their product; None unless both are known."""
    return None if one is None or other is None else one * other


def _holds_numbers(node: onnx.NodeProto, weights: Mapping[str, Weight]) -> bool:
    """Whether an unknown operator has learnt anything, as far as can be seen; ONNX-ML keeps it in attributes."""
    attached = any(len(attribute.floats) > 1 for attribute in node.attribute)
    return attached or any(weight.numbers for weight in held_by(node, weights))
