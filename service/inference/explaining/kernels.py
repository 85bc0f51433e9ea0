"""Which layers each kernel of an optimised session computes: onnxruntime fuses, renames, and adds nodes of its own.

All is read off the graph that it made of the model, whose tensors mostly keep the names that they had; where it changed
their layout (NCHWc, NHWC) they do not, and its nodes' names say which layer they began with.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import onnx

from service.inference.graph.kinds import OPERATORS
from service.inference.graph.subgraph import producers, reads

# What onnxruntime puts around the name of a node that it has rewritten.
PREFIXES = ("InsertedPrecisionFreeCast_", "fused ")
SUFFIXES = re.compile(r"(_token_\d+|_nchwc|/[A-Z]\w*Fusion/?)$")
REPLACED = "_bn_nchwc"
"""What it puts behind the name of a BatchNormalization of which it has made a convolution."""
INLINED = "_inlfunc_"
"""How the tensors within a function begin, once it is taken apart."""

# What changes how numbers lie in memory or are written down, and not what they mean.
MOVING = frozenset({
    "Cast", "DequantizeLinear", "Identity", "QuantizeLinear", "ReorderInput", "ReorderOutput", "Reshape", "Squeeze",
    "Transpose", "Unsqueeze",
})  # fmt: skip
# What a kernel may do with its own result before it is written down.
FINISHING = OPERATORS["activation"] | {"Add", "BatchNormalization", "Div", "Mul", "QuantizeLinear", "Sub", "Sum"}


@dataclass(frozen=True)
class Kernel:
    """What a kernel computes: a layer, and others on the way there, in the order of the model's graph."""

    layer: str | None
    """The last of them; None: what onnxruntime added itself."""
    fused: tuple[str, ...] = ()


ADDED = Kernel(None)


def named(name: str, layers: Iterable[str]) -> str | None:
    """The layer that a node of the optimised graph was made of, as far as its name says so."""
    found = {name}
    while found:
        for one in sorted(found, key=len, reverse=True):
            if one in layers:
                return one
        shorter = {SUFFIXES.sub("", one) for one in found} | {one.removesuffix(REPLACED) for one in found}
        shorter |= {one.removeprefix(prefix) for one in found for prefix in PREFIXES}
        found = shorter - found if shorter - found else set()
    return None


class Kernels:
    """The kernels of one session by their names."""

    def __init__(
        self,
        layers: Iterable[str],
        kernels: Mapping[str, Kernel],
        nameless: Mapping[str, Sequence[Kernel]] | None = None,
    ) -> None:
        self._layers = frozenset(layers)
        self._kernels = dict(kernels)
        self._nameless = {op: list(those) for op, those in (nameless or {}).items()}

    def of(self, name: str) -> Kernel:
        """The kernel of a node of the optimised graph; by its name alone, where that graph is not known.

        Nodes that functions were taken apart into may have no name; the profiler then goes by operator and a number,
        which rises in the order in which they are computed, in which they should be asked for.
        """
        if name not in self._kernels:
            waiting = self._nameless.get(name.rpartition("_")[0])
            self._kernels[name] = waiting.pop(0) if waiting else self._by_name(name)
        return self._kernels[name]

    def _by_name(self, name: str) -> Kernel:
        layer = named(name, self._layers)
        return Kernel(layer) if layer else ADDED

    @classmethod
    def read(cls, model: onnx.GraphProto, optimised: onnx.GraphProto, shown: Iterable[str]) -> Self:
        """From the graph of the model, whose nodes are named after their layers, and what onnxruntime made of it.

        Only layers that are `shown` are told as fused: what is constant is computed once and not in any kernel.
        """
        layers = [name for node in model.node for name in node.output if name]
        return cls(layers, *_Reader(model, optimised, frozenset(shown)).read())


class _Reader:
    """From the optimised nodes to the layers that they yield, and from these to all the others."""

    def __init__(self, model: onnx.GraphProto, optimised: onnx.GraphProto, shown: frozenset[str]) -> None:
        self.model = model
        self.nodes = list(optimised.node)
        self.shown = shown
        self.maker = {name: model.node[index] for name, index in producers(model).items()}
        self.place = {name: index for index, name in enumerate(self.maker)}
        self.readers: dict[str, list[str]] = {}
        for node in model.node:
            for name in reads(node):
                self.readers.setdefault(name, []).extend(filter(None, node.output[:1]))
        self.outputs = {value.name for value in model.output}
        self.made_by = {name: index for index, node in enumerate(self.nodes) for name in node.output if name}
        self.yields: dict[int, str] = {}
        self.owner: dict[str, int] = {}
        """The kernel that computes each layer."""
        self.twins: dict[str, int] = {}
        """And that of each that was merged with another, as the two are the same."""

    def read(self) -> tuple[dict[str, Kernel], dict[str, list[Kernel]]]:
        """The kernels of the nodes that have names, by these; and of those that have none, by their operators."""
        self._by_tensors()
        self._by_names()
        self._through_moves()
        for index, layer in self.yields.items():
            for name in self.maker[layer].output:
                self.owner.setdefault(name, index)
        for index in sorted(self.yields):
            self._finish(index)
        self._merge()
        for index in sorted(self.yields):
            self._lead_up(index)
        kernels = [self._kernel(index) for index in range(len(self.nodes))]
        nameless: dict[str, list[Kernel]] = {}
        for node, kernel in zip(self.nodes, kernels, strict=True):
            if not node.name:
                nameless.setdefault(node.op_type, []).append(kernel)
        return {node.name: kernel for node, kernel in zip(self.nodes, kernels, strict=True) if node.name}, nameless

    def _claim(self, index: int, layer: str) -> None:
        self.yields[index] = layer
        self.owner.setdefault(layer, index)

    def _by_tensors(self) -> None:
        """A kernel that writes a tensor of the model's yields that layer, whatever it is called."""
        for index, node in enumerate(self.nodes):
            known = [name for name in node.output if name in self.maker]
            if known and not self._only_moves(node, known[0]):
                self._claim(index, known[0])

    def _only_moves(self, node: onnx.NodeProto, layer: str) -> bool:
        """Whether it was added to lay out anew what another kernel has computed."""
        added = node.op_type in MOVING and node.name != layer
        return added and self.maker[layer].op_type not in MOVING

    def _by_names(self) -> None:
        for index, node in enumerate(self.nodes):
            layer = named(node.name, self.maker)
            if index not in self.yields and layer is not None and layer not in self.owner:
                self._claim(index, layer)

    def _through_moves(self) -> None:
        """What was added behind a kernel writes the tensor that the kernel has computed under another name."""
        for node in self.nodes:
            written = next((name for name in node.output if name in self.maker), None)
            before = self.made_by.get(node.input[0]) if node.input else None
            if written is not None and written not in self.owner and before is not None:
                self._claim(before, written)

    def _finish(self, index: int) -> None:
        """Go on from a kernel whose own tensor is unknown, through what is done with its result alone."""
        node = self.nodes[index]
        if any(name in self.maker for name in node.output) or node.op_type in MOVING:
            return
        layer = self.yields[index]
        while len(followers := self.readers.get(layer, [])) == 1 and layer not in self.outputs:
            after = followers[0]
            given = [name for name in reads(self.maker[after]) if name in self.shown and name != layer]
            ready = all(self.owner.get(name, len(self.nodes)) < index for name in given)
            if after in self.owner or self.maker[after].op_type not in FINISHING or not ready:
                return
            self.owner[after] = index
            layer = after

    def _lead_up(self, index: int) -> None:
        """All on the way to what a kernel yields, from what others yield on."""
        waiting = list(reads(self.maker[self.yields[index]]))
        while waiting:
            name = waiting.pop()
            if name in self.shown and name in self.maker and name not in {**self.owner, **self.twins}:
                self.owner[name] = index
                waiting += reads(self.maker[name])

    def _merge(self) -> None:
        """What no kernel computes, but one does the very same of the same: onnxruntime computes it once."""
        like: dict[str, str] = {}
        groups: dict[tuple[object, ...], onnx.NodeProto] = {}
        for node in self.model.node:
            if not node.input:
                continue  # constants are in no kernel, and may be large
            settings = tuple(sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute))
            key = (node.domain, node.op_type, settings, *(like.get(name, name) for name in node.input))
            first = groups.setdefault(key, node)
            like.update((name, other) for name, other in zip(node.output, first.output, strict=False) if name and other)
        owners = {like[name]: index for name, index in self.owner.items() if name in like}
        for name, other in like.items():
            if name not in self.owner and name in self.shown and other in owners:
                self.twins[name] = owners[other]

    def _kernel(self, index: int) -> Kernel:
        if index not in self.yields:
            return self._inner(index)
        found = {name for name, owner in self.owner.items() if owner == index and name in self.shown}
        owned = sorted(found | {self.yields[index]}, key=self.place.__getitem__)
        told = [name for name in owned if self.maker[name].op_type != "QuantizeLinear"] or owned
        last = self.yields[index] if self.yields[index] in owned and self._ends(index) else told[-1]
        rest = {*owned, *(name for name, owner in self.twins.items() if owner == index)} - {last}
        return Kernel(last, tuple(sorted(rest, key=self.place.__getitem__)))

    def _ends(self, index: int) -> bool:
        return any(name == self.yields[index] for name in self.nodes[index].output)

    def _inner(self, index: int) -> Kernel:
        """A part of a function belongs to what the function yields."""
        node = self.nodes[index]
        if not any(name.startswith(INLINED) for name in node.output):
            layer = named(node.name, self.maker)
            return Kernel(layer) if layer is not None and node.name != layer else ADDED
        users = [
            after for after in range(index + 1, len(self.nodes)) if set(node.output) & set(self.nodes[after].input)
        ]
        return self._kernel(users[0]) if users else ADDED
