"""The shape of each tensor of an ONNX graph, as far as it can be known without running it."""

from collections.abc import Iterable, Iterator
from typing import Literal

import onnx

from service.inference.graph.subgraph import FREE_INITIALISERS, initialiser_names

Dimension = int | Literal["N"] | None
"""A length; "N", the batch; or None where it is unknown."""
Shape = tuple[Dimension, ...]

# Shape inference reads the values of small initialisers (the target of a Reshape, the axes of a Slice). The large ones
# are weights, which it need not copy.
LARGEST_VALUE = 1024


def infer_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Shapes by name: inputs, initialisers and all tensors of top-level nodes of which the rank is known.

    Inferred at a batch of 1 and of 2: what grows along with it is the batch, even behind a Reshape to (-1, 256), where
    a symbol gets lost. A tensor that only one input at a time can make has its shape for one. What inference cannot
    tell is taken from the file's own declarations.
    """
    bare = _without_weights(model)
    one, two = _inferred(bare, 1), _inferred(bare, 2)
    shapes = {name: _merged(shape, two.get(name)) for name, shape in one.items()}
    weights: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    weights |= {tensor.values.name: tuple(tensor.dims) for tensor in model.graph.sparse_initializer}
    return _declared(model.graph) | shapes | weights


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose large initialisers are inputs, and whose declared shapes, which may be wrong, are gone."""
    graph = model.graph
    version = max(model.ir_version, FREE_INITIALISERS)
    bare = onnx.ModelProto(ir_version=version, opset_import=model.opset_import, functions=model.functions)
    bare.graph.name = graph.name or "graph"
    bare.graph.node.extend(graph.node)
    known = initialiser_names(graph)
    bare.graph.input.extend(value for value in graph.input if value.name not in known)
    for tensor in graph.initializer:
        if _is_small(tensor):
            bare.graph.initializer.append(tensor)
        else:
            bare.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    bare.graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in graph.output)
    return bare


def _is_small(tensor: onnx.TensorProto) -> bool:
    inside = tensor.data_location != onnx.TensorProto.EXTERNAL
    return inside and tensor.ByteSize() <= LARGEST_VALUE


def _inferred(bare: onnx.ModelProto, batch: int) -> dict[str, Shape]:
    bound = onnx.ModelProto()
    bound.CopyFrom(bare)
    for dimension in _batch_dimensions(bound.graph):
        dimension.dim_value = batch
    try:
        graph = onnx.shape_inference.infer_shapes(bound, data_prop=True).graph
    except onnx.shape_inference.InferenceError:
        graph = bound.graph
    return {value.name: _lengths(value) for value in _ranked([*graph.input, *graph.value_info, *graph.output])}


def _batch_dimensions(graph: onnx.GraphProto) -> Iterator[onnx.TensorShapeProto.Dimension]:
    symbol = _batch_symbol(graph)
    for value in graph.input:
        for place, dimension in enumerate(value.type.tensor_type.shape.dim):
            if _is_batch(place, dimension, symbol):
                yield dimension


def _is_batch(place: int, dimension: onnx.TensorShapeProto.Dimension, symbol: str) -> bool:
    """A free dimension is the batch if it bears its symbol, or comes first and bears none."""
    name = dimension.dim_param
    return _length(dimension) is None and (name == symbol if name else place == 0)


def _batch_symbol(graph: onnx.GraphProto) -> str:
    firsts = (value.type.tensor_type.shape.dim[:1] for value in graph.input)
    return next((first[0].dim_param for first in firsts if first and first[0].dim_param), "")


def _merged(one: Shape, two: Shape | None) -> Shape:
    if two is None or len(one) != len(two):
        return one
    return tuple(a if a == b else "N" if (a, b) == (1, 2) else None for a, b in zip(one, two, strict=True))


def _declared(graph: onnx.GraphProto) -> dict[str, Shape]:
    batched = any(True for _ in _batch_dimensions(graph))
    symbol = _batch_symbol(graph)
    return {
        value.name: tuple(
            "N" if batched and _is_batch(place, dimension, symbol) else _length(dimension)
            for place, dimension in enumerate(value.type.tensor_type.shape.dim)
        )
        for value in _ranked([*graph.value_info, *graph.output])
    }


def _lengths(value: onnx.ValueInfoProto) -> Shape:
    return tuple(_length(dimension) for dimension in value.type.tensor_type.shape.dim)


def _ranked(values: Iterable[onnx.ValueInfoProto]) -> Iterator[onnx.ValueInfoProto]:
    """Those of a known rank: no sequences, no maps, nothing that inference gave up on."""
    return (value for value in values if value.type.tensor_type.HasField("shape"))


def _length(dimension: onnx.TensorShapeProto.Dimension) -> int | None:
    """Its length; None for a symbol, for nothing, and for the -1 that some exporters write."""
    return dimension.dim_value if dimension.HasField("dim_value") and dimension.dim_value >= 0 else None
