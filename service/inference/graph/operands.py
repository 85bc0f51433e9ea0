"""Operands: what the rules of tracing ask of a graph: what a tensor sees, its shape, and the numbers that steer."""

from collections.abc import Iterable, Mapping

import onnx

from service.inference.graph.shapes import Inferred
from service.inference.graph.sight import Sight
from service.inference.graph.steering import steering_numbers
from service.inference.graph.window import attributes


class Unknown(Exception):
    """Numbers that steer a node are computed while it runs."""


class Operands:
    """Of one graph of this opset; `sights` grows while the graph is traced."""

    def __init__(self, sights: Mapping[str, Sight], known: Inferred, opset: int) -> None:
        self.shapes = known.shapes
        self.opset = opset
        self._sights = sights
        self._values = steering_numbers(known.constants)

    def of(self, name: str) -> Sight:
        """What a tensor sees."""
        return self._sights.get(name, Sight())

    def rank(self, name: str) -> int | None:
        """How many axes it has; None where unknown."""
        return len(self.shapes[name]) if name in self.shapes else None

    def numbers(self, node: onnx.NodeProto, place: int, attribute: str) -> list[int] | None:
        """Numbers that older opsets have as an attribute, newer ones as an input; None if they are not given.

        Raises Unknown where they are computed.
        """
        settings = attributes(node)
        if attribute in settings:
            return list(settings[attribute])
        if len(node.input) <= place or not node.input[place]:
            return None
        if node.input[place] not in self._values:
            raise Unknown
        return self._values[node.input[place]]

    def axis(self, node: onnx.NodeProto, default: int) -> list[int]:
        """The one axis that `node` works along, as a list of one."""
        axis = int(attributes(node).get("axis", default))
        return self.positive([axis], node.input[0])

    def positive(self, axes: Iterable[int], name: str) -> list[int]:
        """Axes of `name`, none of them counted from the end. Raises Unknown where its rank is."""
        rank = self.rank(name)
        axes = list(axes)
        if rank is None and any(axis < 0 for axis in axes):
            raise Unknown
        return [axis + (rank or 0) if axis < 0 else axis for axis in axes]
