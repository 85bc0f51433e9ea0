"""What of a file stays out of reach, as far as it can be told without running it."""

from collections.abc import Iterable
from contextlib import suppress

import onnx
from onnx import TensorProto

from service.inference.contract.datatypes import of_dtype
from service.inference.contract.signature import Value
from service.inference.graph.subgraph import FREE_INITIALISERS, bodies


def unanswerable(model: onnx.ModelProto) -> dict[str, str]:
    """The layers that no answer can hold, and what they are instead: a sequence, an optional, a bfloat16 ...

    What shape inference does not know the type of, an operator of nobody's for one, is not among them.
    """
    layers = {name for node in model.graph.node for name in node.output if name}
    kinds = {value.name: _kind(value.type) for value in _inferred(model)}
    return {name: kind for name, kind in kinds.items() if kind and name in layers}


def _inferred(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Of a copy that has weights as inputs, so that nobody copies their numbers."""
    graph = model.graph
    bare = onnx.ModelProto(opset_import=model.opset_import, functions=model.functions)
    bare.ir_version = max(model.ir_version, FREE_INITIALISERS)
    bare.graph.name = graph.name or "graph"
    bare.graph.node.extend(graph.node)
    bare.graph.output.extend(graph.output)
    weights = {tensor.name: tensor for tensor in graph.initializer}
    weights |= {tensor.values.name: tensor.values for tensor in graph.sparse_initializer}
    bare.graph.input.extend(value for value in graph.input if value.name not in weights)
    bare.graph.input.extend(
        onnx.helper.make_tensor_value_info(name, tensor.data_type, None) for name, tensor in weights.items()
    )
    with suppress(onnx.shape_inference.InferenceError):
        bare = onnx.shape_inference.infer_shapes(bare)
    return [*graph.value_info, *bare.graph.value_info, *bare.graph.output]


def _kind(value: onnx.TypeProto) -> str | None:
    """None for a tensor that numpy can hold, and for what is not known."""
    kind = value.WhichOneof("value")
    if kind != "tensor_type":
        return kind.removesuffix("_type").replace("_", " ") if kind else None
    number = value.tensor_type.elem_type
    if number == TensorProto.UNDEFINED:
        return None
    try:
        known = number == TensorProto.STRING or of_dtype(onnx.helper.tensor_dtype_to_np_dtype(number)) is not None
    except KeyError:  # a type of a later onnx
        known = False
    return None if known else onnx.helper.tensor_dtype_to_string(number).removeprefix("TensorProto.").lower()


def inside(model: onnx.ModelProto) -> dict[str, int]:
    """The operators and functions that carry nodes within them, which are no layers, and how many those are."""
    functions = {(function.domain, function.name): len(function.node) for function in model.functions}
    found: dict[str, int] = {}
    for node in model.graph.node:
        if hidden := _carried(node) + functions.get((node.domain, node.op_type), 0):
            found[node.op_type] = found.get(node.op_type, 0) + hidden
    return found


def _carried(node: onnx.NodeProto) -> int:
    return sum(1 + _carried(inner) for body in bodies(node) for inner in body.node)


def free_extents(values: Iterable[Value], *, batch: bool) -> list[str]:
    """Each extent of the inputs that the file leaves free, by its axis and its name, if any; first ones for `batch`."""
    return [
        f"axis {axis} of {value.name}" + (f" ({extent})" if extent else "")
        for value in values
        for axis, extent in enumerate(value.shape)
        if not isinstance(extent, int) and (axis or batch)
    ]
