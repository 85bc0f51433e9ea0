"""Control flow: whether the values of the inputs decide which nodes run, and how often.

An If that asks whether anything is bright asks it of a whole batch: each input's answer is then about its neighbours.
"""

from collections.abc import Iterable

import onnx

from service.inference.graph.subgraph import bodies, initialiser_names, reads
from service.inference.graph.tracing import SHAPE_ONLY
from service.inference.graph.window import attributes


def steered(model: onnx.ModelProto) -> str | None:
    """The first layer for which an If or a Loop, its own or one within it, goes by values of the inputs, if any.

    What goes by constants or by lengths alone does the same for all batches of one size.
    """
    flow = _Flow(model.functions)
    inputs = {value.name for value in model.graph.input} - initialiser_names(model.graph)
    _, found = flow.through(model.graph.node, inputs)
    return found


class _Flow:
    """Follows the names that depend on values of inputs, node by node, into bodies and functions."""

    def __init__(self, functions: Iterable[onnx.FunctionProto]) -> None:
        self._functions = {(function.domain, function.name): function for function in functions}

    def through(self, nodes: Iterable[onnx.NodeProto], known: Iterable[str]) -> tuple[set[str], str | None]:
        """The names that depend, `known` among them; and the first tensor whose node is steered by one."""
        names, found = set(known), None
        for node in nodes:
            if names.isdisjoint(reads(node)) or node.op_type in SHAPE_ONLY:
                continue
            found = found or (next(filter(None, node.output), node.op_type) if self._is_steered(node, names) else None)
            names.update(filter(None, node.output))
        return names, found

    def _is_steered(self, node: onnx.NodeProto, names: set[str]) -> bool:
        if function := self._functions.get((node.domain, node.op_type)):
            given = {inner for inner, outer in zip(function.input, node.input, strict=False) if outer in names}
            return self.through(function.node, given)[1] is not None
        if node.op_type == "If":
            return node.input[0] in names or any(self.through(body.node, names)[1] for body in bodies(node))
        if node.op_type == "Loop":
            return not names.isdisjoint(filter(None, node.input[:2])) or self._turns(node, names)
        return node.op_type == "Scan" and self._turns(node, names)

    def _turns(self, node: onnx.NodeProto, names: set[str]) -> bool:
        """Whether what is in a Loop or a Scan is steered, or when a Loop ends."""
        [body] = bodies(node)
        taken = [value.name for value in body.input]
        around = names - {*taken} - initialiser_names(body)
        given = {inner for inner, outer in zip(taken, node.input, strict=False) if outer in names}
        if node.op_type == "Loop":  # its first output says whether it goes on, its first input counts the rounds
            states, given = taken[1:], given - {*taken[:1]}
        else:
            states = taken[: len(taken) - int(attributes(node)["num_scan_inputs"])]
        while True:
            after, found = self.through(body.node, around | given)
            carried = {inner for inner, value in zip(states, body.output, strict=False) if value.name in after}
            if carried <= given:
                return found is not None or (node.op_type == "Loop" and body.output[0].name in after)
            given |= carried
