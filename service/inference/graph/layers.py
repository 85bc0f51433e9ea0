"""Graph: any ONNX graph as layers. A layer is a tensor that a top-level node yields; its name is the tensor's name."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import onnx

from service.errors import UnknownName
from service.inference.graph.dense_equivalent import DenseEquivalent
from service.inference.graph.kinds import ALL, PLUMBING, kind_of
from service.inference.graph.multiply_adds import MultiplyAdds, product
from service.inference.graph.operators import opset_of, standard
from service.inference.graph.parameters import Weight, computed_constants, held_by, weights_of
from service.inference.graph.receptive_field import ReceptiveField
from service.inference.graph.shapes import Shape, infer
from service.inference.graph.subgraph import initialiser_names, producers, reads
from service.inference.graph.tracing import Tracer
from service.inference.graph.window import CONVOLUTIONS, attributes, window

FOLDED_KEY = "convscope.folded"


@dataclass(frozen=True)
class Layer:
    """One row of the table; None where a field has no meaning or nobody can know it."""

    name: str
    op: str
    kind: str | None
    """One of `kinds.OPERATORS`, or "plumbing": what depends on no value of any input, and is no output of the model."""
    inputs: tuple[str, ...]
    """The layers, or inputs of the graph, that feed it; weights left out."""
    folded: tuple[str, ...]
    """Names of the modules that the exporter folded into it."""
    shape: Shape | None
    """The batch is "N"; None stands for a length that is not known before the run."""
    kernel: tuple[int, ...] | None
    stride: tuple[int, ...] | None
    padding: tuple[int, ...] | None
    """As in ONNX: all begins, then all ends."""
    dilation: tuple[int, ...] | None
    groups: int | None
    parameters: int
    """Numbers in its weights, running statistics among them. A node of several outputs has them on its first.

    What computes weights from weights has none: a dequantised kernel counts where it is used.
    """
    macs: int | None
    """Multiply-adds for one input; of convolutions and of products with a weight."""
    receptive_field: ReceptiveField | None
    dense_equivalent: DenseEquivalent | None
    """Of a convolution."""


@dataclass(frozen=True)
class Totals:
    """Sums over the whole graph: a shared weight counts once; `macs` is None where `Graph.uncounted` names a layer.

    `layers` leaves out plumbing; `dense_equivalent` adds up the convolutions, and is None where there are none.
    """

    parameters: int
    macs: int | None
    layers: int
    dense_equivalent: DenseEquivalent | None = None


@dataclass(frozen=True)
class Graph:
    """The layers of a model, in the order of its nodes."""

    inputs: tuple[str, ...]
    """What a client has to feed; initialisers left out."""
    rows: Mapping[str, Layer]
    """Every layer by name, plumbing among them."""
    totals: Totals
    uncounted: tuple[str, ...] = ()
    """The layers for which the total of multiply-adds is None: of unknown extents, or of an operator not understood."""

    @classmethod
    def of(cls, model: onnx.ModelProto) -> Self:
        """Read the table off `model`, which stays as it is."""
        return cls(*_Reader(model).read())

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The table: every layer but plumbing, which is left out of their inputs, too."""
        return self.table(frozenset())

    def table(self, kinds: frozenset[str]) -> tuple[Layer, ...]:
        """The rows of these kinds; of "all", with plumbing; of none, without. `inputs` names what feeds a row directly.

        That may be a layer of another kind, but it is plumbing only where plumbing is shown.
        """
        if ALL in kinds:
            return tuple(self.rows.values())
        shown = [row for row in self.rows.values() if row.kind != PLUMBING and (not kinds or row.kind in kinds)]
        return tuple(replace(row, inputs=tuple(filter(self._is_seen, row.inputs))) for row in shown)

    def _is_seen(self, name: str) -> bool:
        return name not in self.rows or self.rows[name].kind != PLUMBING

    def layer(self, name: str) -> Layer:
        """The row of one layer. Raises UnknownName, which lists the nearest."""
        if name not in self.rows:
            raise UnknownName("layer", name, self.rows)
        return self.rows[name]

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Everything that can be asked for."""
        return tuple(self.rows)


class _Reader:
    """What has to be known of the whole graph to write one row."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = self.graph = model.graph
        initialisers = initialiser_names(graph)
        self.inputs = tuple(value.name for value in graph.input if value.name not in initialisers)
        self.weights = weights_of(graph)
        self.constants = computed_constants(graph.node, self.weights)
        found = infer(model)
        self.shapes = found.shapes
        self.feeders = {*self.inputs, *producers(graph)} - self.weights.keys()
        self.outputs = {value.name for value in graph.output}
        self.made_by = {name: graph.node[index] for name, index in producers(graph).items()}
        self.tracer = Tracer(graph, self.inputs, found, opset_of(model))
        self.multiply_adds = MultiplyAdds(model, self.weights, found, self._fixed_batch)

    def read(self) -> tuple[tuple[str, ...], dict[str, Layer], Totals, tuple[str, ...]]:
        rows = [self._row(node, name) for node in self.graph.node for name in node.output if name]
        held = set[Weight]().union(*(held_by(node, self.weights) for node in self.graph.node))
        macs = {
            _first(node): self.multiply_adds.of(standard(node))
            for node in self.graph.node
            if self.multiply_adds.are_done_by(standard(node))
        }
        known = [count for count in macs.values() if count is not None]
        totals = Totals(
            parameters=sum(weight.numbers for weight in held),
            macs=sum(known) if len(known) == len(macs) else None,
            layers=sum(row.kind != PLUMBING for row in rows),
            dense_equivalent=DenseEquivalent.total([row.dense_equivalent for row in rows if row.dense_equivalent]),
        )
        uncounted = tuple(name for name, count in macs.items() if count is None)
        return self.inputs, {row.name: row for row in rows}, totals, uncounted

    def _row(self, node: onnx.NodeProto, name: str) -> Layer:
        same = standard(node)
        seen = window(same, self.shapes)
        first = name == _first(node)
        return Layer(
            name=name,
            op=node.op_type,
            kind=kind_of(same.op_type) if self.tracer.depends(name) or name in self.outputs else PLUMBING,
            inputs=tuple(read for read in reads(node) if read in self.feeders),
            folded=_folded(node),
            shape=self.shapes.get(name),
            kernel=seen.kernel if seen else None,
            stride=seen.stride if seen else None,
            padding=seen.padding if seen else None,
            dilation=seen.dilation if seen else None,
            groups=attributes(same).get("group", 1) if same.op_type in CONVOLUTIONS else None,
            parameters=sum(weight.numbers for weight in self._used(node)) if first else 0,
            macs=self.multiply_adds.of(same) if first and self.multiply_adds.are_done_by(same) else None,
            receptive_field=self.tracer.receptive_field(name),
            dense_equivalent=self._dense_equivalent(same),
        )

    def _used(self, node: onnx.NodeProto) -> set[Weight]:
        """The weights of `node`, and those that its constant inputs are computed from."""
        if self.constants.issuperset(filter(None, node.output)):
            return set()
        waiting, met = [node], set[str]()
        held = set[Weight]()
        while waiting:
            user = waiting.pop()
            held |= held_by(user, self.weights)
            fresh = {name for name in reads(user) if name in self.constants and name in self.made_by} - met
            met |= fresh
            waiting += [self.made_by[name] for name in fresh]
        return held

    def _dense_equivalent(self, node: onnx.NodeProto) -> DenseEquivalent | None:
        """Of a convolution whose kernel is known."""
        if node.op_type not in CONVOLUTIONS:
            return None
        local = product(self.shapes.get(node.input[1], (None,)))
        seen = window(node, self.shapes)
        if local is None or seen is None:
            return None
        names = (node.input[0], node.output[0]) if node.op_type == "Conv" else (node.output[0], node.input[0])
        inside, outside = (_whole(self.shapes.get(name, ())[1:]) for name in names)
        if not inside or not outside or {len(inside), len(outside)} != {len(seen.stride) + 1}:
            return DenseEquivalent(None, None, local)
        return DenseEquivalent.of(inside, outside, local, seen.stride)

    @property
    def _fixed_batch(self) -> int:
        first = self.shapes.get(self.inputs[0], ())[:1] if self.inputs else ()
        return first[0] or 1 if first and isinstance(first[0], int) else 1


def _first(node: onnx.NodeProto) -> str:
    return next(filter(None, node.output), "")


def _whole(lengths: Shape) -> tuple[int, ...]:
    """`lengths`; empty unless each is known."""
    known = tuple(length for length in lengths if isinstance(length, int))
    return known if len(known) == len(lengths) else ()


def _folded(node: onnx.NodeProto) -> tuple[str, ...]:
    entries = {entry.key: entry.value for entry in node.metadata_props}
    return tuple(json.loads(entries.get(FOLDED_KEY, "[]")))
