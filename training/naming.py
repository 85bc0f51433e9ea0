"""A fresh ONNX export made readable: every tensor bears the name of the PyTorch module that yields it.

torch.onnx.export leaves in each node's metadata the modules around it, outermost first, and the operation at last:
`["", "network", "network.stem", "network.stem.norm", "relu"]`. From that:

- what a module without children yields bears the module's name (`stem.relu`) and equals its forward hook's output;
- any other operation is `<module>.<operation>`: `input.scaled.sub`, or `stage2.add` in the forward of `stage2`;
- where the exporter has folded modules into one node (BatchNorm into the convolution before it), the node stands at the
  last of them, and its metadata lists the others: `convscope.folded` = `["stem.conv"]`;
- a node bears the name of its output. Names of graph inputs and outputs stay.
"""

import ast
import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

import onnx

from service.inference.graph.layers import FOLDED_KEY

SCOPES_KEY = "pkg.torch.onnx.name_scopes"
NOWHERE = "_empty_nn_module_stack_from_metadata_hook"  # the exporter's word for the scope of a tensor's own shape


def name_after_modules(model: onnx.ModelProto, modules: Iterable[str], wrapper: str) -> None:
    """Rename, in place, everything in a fresh export.

    `modules` are the dotted names of the network's modules, `wrapper` the attribute under which the exported module
    holds the network: it is dropped from every name.
    """
    graph = model.graph
    scopes = [_scope(node, wrapper) for node in graph.node]
    names = _tensor_names(graph, scopes, set(modules), wrapper)
    folded = [_folded(node, scope, wrapper) for node, scope in zip(graph.node, scopes, strict=True)]
    _strip_metadata(model)
    _rename(graph, names)
    for node, others in zip(graph.node, folded, strict=True):
        if others:
            node.metadata_props.add(key=FOLDED_KEY, value=json.dumps(others))


def _scope(node: onnx.NodeProto, wrapper: str) -> str:
    """The innermost module around a node, without the wrapper; "" for the wrapper itself and the whole network."""
    scopes = next((item.value for item in node.metadata_props if item.key == SCOPES_KEY), "['', '']")
    scope: str = ast.literal_eval(scopes)[-2]
    return "" if scope == NOWHERE else _without(wrapper, scope)


def _without(wrapper: str, name: str) -> str:
    return "" if name == wrapper else name.removeprefix(f"{wrapper}.")


def _tensor_names(graph: onnx.GraphProto, scopes: list[str], modules: set[str], wrapper: str) -> dict[str, str]:
    """New names by old ones: of each node's outputs, and of the initializers."""
    taken: Counter[str] = Counter(value.name for value in (*graph.input, *graph.output))
    names = {name: name for name in taken}
    parents = {module.rpartition(".")[0] for module in modules}
    lasts = [here != following for here, following in pairwise([*scopes, None])]
    for node, scope, last in zip(graph.node, scopes, lasts, strict=True):
        whole = last and scope in modules and scope not in parents
        base = scope if whole else f"{scope}.{node.op_type.lower()}".lstrip(".")
        for output in filter(None, node.output):
            if output not in names:
                names[output] = _unique(base, taken)
    constants = {item.name for item in graph.initializer}
    for node in graph.node:
        for constant in filter(constants.__contains__, node.input):
            parameter = constant.startswith(f"{wrapper}.")
            base = _without(wrapper, constant) if parameter else f"{names[node.output[0]]}.constant"
            base = base.replace(".weight_bias", ".bias")  # so the exporter calls a bias that folding brought about
            if constant not in names:
                names[constant] = _unique(base, taken)
    return names


def _unique(base: str, taken: Counter[str]) -> str:
    """`base`, or `base.2`, `base.3` where a module is called more than once."""
    taken[base] += 1
    return base if taken[base] == 1 else _unique(f"{base}.{taken[base]}", taken)


def _folded(node: onnx.NodeProto, scope: str, wrapper: str) -> list[str]:
    """The other modules whose weights a node holds."""
    owners = [_without(wrapper, name).rpartition(".")[0] for name in node.input if name.startswith(f"{wrapper}.")]
    return [owner for owner in dict.fromkeys(owners) if owner != scope and not scope.startswith(f"{owner}.")]


def _strip_metadata(model: onnx.ModelProto) -> None:
    """Drop all that the exporter notes: stack traces hold paths of the machine it ran on."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        node.name = node.output[0]
    for value in (*graph.initializer, *graph.value_info):
        value.name = names.get(value.name, value.name)
