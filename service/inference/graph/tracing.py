"""Tracing: the receptive field of every tensor of a graph, operator by operator.

What has no rule is taken to see everything: recurrence, attention, detection heads, operators that nobody knows.
So are upsampling and transposed convolutions of a stride above 1, whose fields differ from place to place, and a
normalisation by statistics of the picture itself (InstanceNormalization), as each of its places depends on all.
"""

from collections.abc import Iterable, Mapping

import onnx

from service.inference.graph.operands import Operands
from service.inference.graph.operators import standard
from service.inference.graph.receptive_field import ReceptiveField, Span
from service.inference.graph.rules import GLOBAL_POOLINGS, JOINING, RULES
from service.inference.graph.shapes import Inferred
from service.inference.graph.sight import Place, Sight, Source
from service.inference.graph.subgraph import reads
from service.inference.graph.window import CONVOLUTIONS, POOLINGS

SHAPE_ONLY = frozenset({"Shape", "Size", "EyeLike", "RandomNormalLike", "RandomUniformLike"})
ADDED = 3
"""Which input of a fused convolution is added to its sum."""


class Tracer:
    """What each tensor of `graph` sees. `inputs` are those that a client feeds."""

    def __init__(self, graph: onnx.GraphProto, inputs: Iterable[str], known: Inferred, opset: int) -> None:
        self._spatial: dict[Source, None] = {}
        self._untold = set[str]()
        self._ranks = {name: len(known.shapes.get(name, ())) for name in inputs}
        self._sights = {name: Sight.of_input(name, rank) for name, rank in self._ranks.items()}
        self._operands = Operands(self._sights, known, opset)
        for node in graph.node:
            sight = self._see(node)
            self._sights.update((name, sight) for name in node.output if name)

    def depends(self, name: str) -> bool:
        """Whether the values of a tensor depend on those of the inputs, not just on their shapes."""
        return bool(self._sights.get(name, Sight()).inputs)

    def places(self, name: str) -> Mapping[Source, Place]:
        """Where the axes of the inputs lie in a tensor; those that cannot be found in it are left out."""
        return self._sights.get(name, Sight()).places

    def receptive_field(self, name: str) -> ReceptiveField | None:
        """Along the axes of the input that convolutions and poolings slide over; None where it sees all of one.

        Several inputs must agree.
        """
        sight = self._sights.get(name, Sight())
        if sight.inputs & self._untold:
            return None
        spans: dict[str, list[Span]] = {}
        for source in sorted(source for source in self._spatial if source[0] in sight.inputs):
            place = sight.places.get(source)
            if place is None or place.span is None:
                return None
            spans.setdefault(source[0], []).append(place.span)
        found = {ReceptiveField.of(each) for each in spans.values()}
        return found.pop() if len(found) == 1 else None

    def _see(self, node: onnx.NodeProto) -> Sight:
        seen = Sight.union(self._operands.of(name) for name in reads(node))
        same = standard(node)
        if not seen.inputs or same.op_type in SHAPE_ONLY:
            return Sight()
        if same.op_type in CONVOLUTIONS | POOLINGS | GLOBAL_POOLINGS:
            self._note_axes(same.input[0])
        if any(self.depends(name) for name in {*reads(node)} - {*same.input}):
            return seen.blurred  # scales of the picture itself, or what bodies capture
        return Sight(seen.inputs, self._looked_through(same).places)

    def _note_axes(self, name: str) -> None:
        """The axes that a window over this tensor slides along; for an input's first one, with those lost on the way.

        Behind that, what is lost may be its channels.
        """
        met = {source for source, _ in self._spatial}
        sight, lengths = self._operands.of(name), self._operands.shapes.get(name, ())[2:]
        self._spatial.update(dict.fromkeys(sight.sources(2)))
        for source in sight.inputs - met:
            found = {place.axis - 2 for each, place in sight.places.items() if each[0] == source and place.axis >= 2}
            missing = sum(length != 1 and axis not in found for axis, length in enumerate(lengths))
            lost = {(source, axis) for axis in range(1, self._ranks[source])} - sight.places.keys()
            if not found or not missing:
                continue
            if len(lost) == missing:
                self._spatial.update(dict.fromkeys(sorted(lost)))
            else:  # nobody can tell which of them are the channels
                self._untold.add(source)

    def _looked_through(self, node: onnx.NodeProto) -> Sight:
        if node.op_type == "Conv" and len(node.input) > ADDED:  # onnxruntime's own
            plain = onnx.helper.make_node("Conv", node.input[:ADDED], node.output)
            plain.attribute.extend(node.attribute)
            return Sight.union([self._looked_through(plain), self._operands.of(node.input[ADDED])])
        first = self._operands.of(node.input[0]) if node.input else Sight()
        steered = any(self.depends(name) for name in node.input if name != node.input[0])
        if node.op_type not in RULES or (steered and node.op_type not in JOINING):
            return first.blurred
        return RULES[node.op_type](self._operands, node, first)
