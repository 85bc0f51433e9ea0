"""The part of an ONNX model that leads to the layers asked for, and nothing else."""

from collections.abc import Iterable, Iterator

import onnx

from service.errors import UnknownName

# From this IR version on an initialiser need not be listed as an input, and one that is counts as replaceable, which
# keeps onnxruntime from folding it. Before, it had to be listed.
FREE_INITIALISERS = 4


def subgraph(model: onnx.ModelProto, layers: Iterable[str]) -> onnx.ModelProto:
    """A new model that yields exactly `layers`, in their order: tensors that top-level nodes or the model itself yield.

    It holds only the nodes, initialisers and inputs that lead there; `model` stays as it is. What a node yields is
    declared by name alone: onnxruntime infers type and shape, so that a wrong declaration in `model` does no harm.
    Raises UnknownName for any other layer.
    """
    graph = model.graph
    wanted = list(dict.fromkeys(layers))
    nodes, names = _ancestors(graph, wanted)
    part = onnx.ModelProto(ir_version=model.ir_version, producer_name="convscope")
    part.opset_import.extend(model.opset_import)
    part.functions.extend(model.functions)
    part.graph.name = graph.name or "subgraph"
    part.graph.node.extend(graph.node[index] for index in sorted(nodes))
    part.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name in names)
    part.graph.sparse_initializer.extend(tensor for tensor in graph.sparse_initializer if tensor.values.name in names)
    constants = set() if model.ir_version < FREE_INITIALISERS else initialiser_names(graph)
    part.graph.input.extend(value for value in graph.input if value.name in names - constants)
    passed_on = passed_on_outputs(graph)
    part.graph.output.extend(passed_on.get(name, onnx.ValueInfoProto(name=name)) for name in wanted)
    return part


def reads(node: onnx.NodeProto) -> list[str]:
    """Names of the tensors that `node` needs: its inputs, and what its bodies (If, Loop, Scan) capture around them."""
    names = [name for name in node.input if name]
    for body in bodies(node):
        names += _captured(body)
    return list(dict.fromkeys(names))


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that `node` carries as attributes."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def initialiser_names(graph: onnx.GraphProto) -> set[str]:
    """Names of the dense and sparse initialisers of `graph`."""
    return {tensor.name for tensor in graph.initializer} | {tensor.values.name for tensor in graph.sparse_initializer}


def producers(graph: onnx.GraphProto) -> dict[str, int]:
    """Each tensor that a top-level node yields, with the place of that node: the layers, in the graph's order."""
    return {name: index for index, node in enumerate(graph.node) for name in node.output if name}


def passed_on_outputs(graph: onnx.GraphProto) -> dict[str, onnx.ValueInfoProto]:
    """The outputs that no node yields, as an input or an initialiser is one already, by name."""
    made_by = producers(graph)
    return {value.name: value for value in graph.output if value.name not in made_by}


def _ancestors(graph: onnx.GraphProto, wanted: list[str]) -> tuple[set[int], set[str]]:
    """Places of the nodes that lead to `wanted`, and every name met on the way back."""
    made_by = producers(graph)
    known = {**made_by, **passed_on_outputs(graph)}
    for layer in wanted:
        if layer not in known:
            raise UnknownName("layer", layer, known)
    nodes: set[int] = set()
    names: set[str] = set()
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        names.add(name)
        index = made_by.get(name)
        if index is not None and index not in nodes:
            nodes.add(index)
            waiting += reads(graph.node[index])
    return nodes, names


def _captured(body: onnx.GraphProto) -> list[str]:
    own = {value.name for value in body.input} | initialiser_names(body) | set(producers(body))
    used = [name for node in body.node for name in reads(node)]
    return [name for name in (*used, *(value.name for value in body.output)) if name not in own]
