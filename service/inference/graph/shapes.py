"""The shape of each tensor of an ONNX graph, as far as it can be known without running it."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx

from service.inference.graph.folding import Folding, Lengths
from service.inference.graph.operators import equivalent, opset_of
from service.inference.graph.steering import Array, small_constants
from service.inference.graph.subgraph import FREE_INITIALISERS, initialiser_names

Dimension = int | Literal["N"] | None
"""A length; "N", the batch; or None where it is unknown."""
Shape = tuple[Dimension, ...]

# Shape inference reads the values of small initialisers (the target of a Reshape, the axes of a Slice). The large ones
# are weights, which it need not copy.
LARGEST_VALUE = 1024
MOST_ROUNDS = 64
"""Of inference and folding in turn; shapes that hang on one another more often than that stay unknown."""


@dataclass(frozen=True)
class Inferred:
    """What is known of a graph before it runs."""

    shapes: Mapping[str, Shape]
    """By name: inputs, initialisers and all tensors of top-level nodes of which the rank is known."""
    sizes: Mapping[str, int]
    """How many numbers of a tensor there are for one input of the batch, by name, where that is a number."""
    constants: Mapping[str, Array]
    """The small ones, by name: those of the file, and what is computed of lengths other than the batch."""


def infer(model: onnx.ModelProto) -> Inferred:
    """Inferred at a batch of 1 and of 2: what grows along with it is the batch, even behind a Reshape to (-1, 256).

    There, a symbol gets lost. A tensor that only one input at a time can make has its shape for one. What inference
    cannot tell is taken from the file's own declarations.
    """
    bare = _without_weights(model)
    opset = opset_of(model)
    (one, folded), (two, others) = (_inferred(bare, batch, opset) for batch in (1, 2))
    shapes = {name: _merged(shape, two.get(name)) for name, shape in one.items()}
    sizes = {name: _size(shape, two.get(name, shape)) for name, shape in one.items()}
    weights: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    weights |= {tensor.values.name: tuple(tensor.dims) for tensor in model.graph.sparse_initializer}
    same = {name: value for name, value in folded.items() if name in others and np.array_equal(value, others[name])}
    return Inferred(
        _declared(model.graph) | shapes | weights,
        {name: size for name, size in sizes.items() if size is not None},
        small_constants(model.graph) | same,
    )


def infer_shapes(model: onnx.ModelProto) -> Mapping[str, Shape]:
    """Shapes by name, as in `Inferred`."""
    return infer(model).shapes


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose large initialisers are inputs, and whose declared shapes, which may be wrong, are gone.

    Those of operators that nobody knows stay, as there is nothing better. Known ones bear their standard names.
    """
    graph = model.graph
    version = max(model.ir_version, FREE_INITIALISERS)
    bare = onnx.ModelProto(ir_version=version, opset_import=model.opset_import, functions=model.functions)
    bare.graph.name = graph.name or "graph"
    bare.graph.node.extend(equivalent(node) or node for node in graph.node)
    known = initialiser_names(graph)
    bare.graph.input.extend(value for value in graph.input if value.name not in known)
    for tensor in graph.initializer:
        if _is_small(tensor):
            bare.graph.initializer.append(tensor)
        else:
            bare.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    bare.graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in graph.output)
    strange = {name for node in graph.node if equivalent(node) is None for name in node.output}
    bare.graph.value_info.extend(value for value in graph.value_info if value.name in strange)
    return bare


def _is_small(tensor: onnx.TensorProto) -> bool:
    inside = tensor.data_location != onnx.TensorProto.EXTERNAL
    return inside and tensor.ByteSize() <= LARGEST_VALUE


def _inferred(bare: onnx.ModelProto, batch: int, opset: int) -> tuple[dict[str, Lengths], dict[str, Array]]:
    """The shapes for this size of batch, and what is computed of them."""
    bound = onnx.ModelProto()
    bound.CopyFrom(bare)
    for dimension in _batch_dimensions(bound.graph):
        dimension.dim_value = batch
    folding, folded = Folding(bound.graph, opset), dict[str, Array]()
    for _ in range(MOST_ROUNDS):
        shapes = _propagated(bound) | {name: value.shape for name, value in folded.items()}
        fresh = folding.fold(shapes)
        folded |= fresh
        if not fresh or _is_complete(bound.graph, shapes):
            break
    return shapes | {name: value.shape for name, value in folded.items()}, folded


def _propagated(bound: onnx.ModelProto) -> dict[str, Lengths]:
    try:
        graph = onnx.shape_inference.infer_shapes(bound, data_prop=True).graph
    except onnx.shape_inference.InferenceError:
        graph = bound.graph
    return {value.name: _lengths(value) for value in _ranked([*graph.input, *graph.value_info, *graph.output])}


def _is_complete(graph: onnx.GraphProto, shapes: Mapping[str, Lengths]) -> bool:
    return all(None not in shapes.get(name, (None,)) for node in graph.node for name in node.output if name)


def _batch_dimensions(graph: onnx.GraphProto) -> Iterator[onnx.TensorShapeProto.Dimension]:
    symbols = _batch_symbols(graph)
    for value in [*graph.input, *graph.value_info]:
        for place, dimension in enumerate(value.type.tensor_type.shape.dim):
            if _is_batch(place, dimension, symbols):
                yield dimension


def _is_batch(place: int, dimension: onnx.TensorShapeProto.Dimension, symbols: frozenset[str]) -> bool:
    """A free dimension is the batch if it bears one of its symbols, or comes first and bears none."""
    name = dimension.dim_param
    return _length(dimension) is None and (name in symbols if name else place == 0)


def _batch_symbols(graph: onnx.GraphProto) -> frozenset[str]:
    """What inputs begin with; no symbol behind which the first of them comes, as in [steps, batch]."""
    symbols = [[dimension.dim_param for dimension in value.type.tensor_type.shape.dim] for value in graph.input]
    named = [names for names in symbols if names and names[0]]
    before = {names[0] for names in named if named[0][0] in names[1:]}
    return frozenset(names[0] for names in named) - before


def _merged(one: Lengths, two: Lengths | None) -> Shape:
    if two is None or len(one) != len(two):
        return one
    return tuple(a if a == b else "N" if (a, b) == (1, 2) else None for a, b in zip(one, two, strict=True))


def _size(one: Lengths, two: Lengths) -> int | None:
    """Of tensors of these shapes for one input and for two; None where it neither stays nor grows along."""
    if None in one or None in two:
        return None
    first, second = (math.prod(length for length in lengths if length is not None) for lengths in (one, two))
    return first if second in (first, 2 * first) else None


def _declared(graph: onnx.GraphProto) -> dict[str, Shape]:
    symbols = _batch_symbols(graph)
    batched = any(
        _is_batch(place, dimension, symbols)
        for value in graph.input
        for place, dimension in enumerate(value.type.tensor_type.shape.dim)
    )
    return {
        value.name: tuple(
            "N" if batched and _is_batch(place, dimension, symbols) else _length(dimension)
            for place, dimension in enumerate(value.type.tensor_type.shape.dim)
        )
        for value in _ranked([*graph.value_info, *graph.output])
    }


def _lengths(value: onnx.ValueInfoProto) -> Lengths:
    return tuple(_length(dimension) for dimension in value.type.tensor_type.shape.dim)


def _ranked(values: Iterable[onnx.ValueInfoProto]) -> Iterator[onnx.ValueInfoProto]:
    """Those of a known rank: no sequences, no maps, nothing that inference gave up on."""
    return (value for value in values if value.type.tensor_type.HasField("shape"))


def _length(dimension: onnx.TensorShapeProto.Dimension) -> int | None:
    """Its length; None for a symbol, for nothing, and for the -1 that some exporters write."""
    return dimension.dim_value if dimension.HasField("dim_value") and dimension.dim_value >= 0 else None
