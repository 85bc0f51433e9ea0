"""INT8: a float model becomes one of 8-bit integers, smaller and faster, with the same layers by the same names.

onnxruntime quantises what lies between the first layer with weights and the last; preprocessing, temperature and
softmax stay in float, and so do the logits, and normalisations that no convolution takes up. Weights are signed and
have a scale per output channel, activations are unsigned and have a range each, read off as the extremes over some
training examples. So onnxruntime's documentation advises for processors that multiply 8-bit integers without
saturation (VNNI):
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from collections.abc import Iterable
from itertools import takewhile
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from service.errors import ConvscopeError
from service.inference.graph.kinds import kind_of
from training.evaluate import AT_ONCE, Inputs
from training.export import MODEL

ARITHMETIC = ("Add", "Sub", "Mul", "Div")
LARGEST_CONSTANT = 1 << 20  # numbers to which one of the preprocessing is repeated: 4 MB for each session
IN_FLOAT = frozenset(  # with integers on either side, onnxruntime computes these in float all the same
    {"BatchNormalization", "InstanceNormalization", "LayerNormalization"}
)


class QuantisationRefused(ConvscopeError):
    """The model cannot be made INT8, or is too much worse then."""


def is_int8(model: onnx.ModelProto) -> bool:
    """Whether anything is quantised in it already."""
    return any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node)


def in_int8(model: onnx.ModelProto, inputs: Inputs) -> onnx.ModelProto:
    """Quantise a float model whose nodes have names, by the ranges that its layers have for `inputs`, a batch.

    Every layer keeps its name, the modules folded into it are still listed. Raises QuantisationRefused.
    """
    if is_int8(model):
        raise QuantisationRefused("the model is INT8 already: name the float one that it was made of")
    inside, last = quantisable(model.graph)
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    _spread_constants(prepared.graph, inside)
    add_pre_process_metadata(prepared)  # the exporter has written down the shapes that onnxruntime asks for
    with TemporaryDirectory() as folder:
        quantize_static(
            prepared,
            Path(folder) / MODEL,
            _Batches(model.graph.input[0].name, inputs),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[
                node.name for node in prepared.graph.node if node.name not in inside or node.op_type in IN_FLOAT
            ],
            extra_options={
                "QDQKeepRemovableActivations": True,  # a ReLU is a layer, even where rounding does its work
                "OpTypesToExcludeOutputQuantization": last,
            },
        )
        made = onnx.load(Path(folder) / MODEL)
    del made.metadata_props[:]
    lost = layer_names(model) - layer_names(made)
    if lost:
        raise QuantisationRefused(f"layers are lost in quantisation: {', '.join(sorted(lost))}")
    onnx.checker.check_model(made, full_check=True)
    return made


def quantisable(graph: onnx.GraphProto) -> tuple[frozenset[str], list[str]]:
    """Names of the nodes from the first layers with weights to the last, and the operators of the last ones."""
    weighty = [index for index, node in enumerate(graph.node) if kind_of(node.op_type) in ("conv", "dense")]
    nodes = list(enumerate(graph.node))
    after = _reached(weighty, ((index, node.input, node.output) for index, node in nodes))
    before = _reached(weighty, ((index, node.output, node.input) for index, node in reversed(nodes)))
    read = {name for index, node in nodes if index in before for name in node.input}
    last = {graph.node[index].op_type for index in weighty if read.isdisjoint(graph.node[index].output)}
    return frozenset(graph.node[index].name for index in after & before), sorted(last)


def _reached(starts: Iterable[int], steps: Iterable[tuple[int, Iterable[str], Iterable[str]]]) -> set[int]:
    """Of nodes, in order of the walk, as (index, what leads to them, where they lead to): `starts`, and all behind."""
    reached, known = set(starts), set[str]()
    for index, come_from, go_to in steps:
        if index in reached or not known.isdisjoint(come_from):
            reached.add(index)
            known.update(filter(None, go_to))
    return reached


def _spread_constants(graph: onnx.GraphProto, inside: frozenset[str]) -> None:
    """Repeat what the preprocessing has once a channel, as mean and deviation, over the whole extent of what it yields.

    onnxruntime computes with integers channels last, and turns the preprocessing with them; that then takes the input
    three numbers at a time: 22 microseconds instead of 5 in the profile of an operation on 32x32 pixels. onnxruntime
    repeats them when it loads the file, in which they take no room.
    """
    numbers = {tensor.name: prod(tensor.dims) for tensor in graph.initializer}
    shapes = {value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in graph.value_info}
    before = list(takewhile(lambda node: node.name not in inside, graph.node))
    for node in [node for node in before if node.op_type in ARITHMETIC]:
        whole = np.array([1, *shapes.get(node.output[0], ())[1:]])
        if 1 < numbers.get(node.input[1], 0) < whole.prod() <= LARGEST_CONSTANT:
            repeated = f"{node.output[0]}/repeated"  # no module's name has a slash
            graph.initializer.append(numpy_helper.from_array(whole, f"{repeated}/shape"))
            graph.node.insert(0, helper.make_node("Expand", [node.input[1], f"{repeated}/shape"], [repeated], repeated))
            node.input[1] = repeated


def layer_names(model: onnx.ModelProto) -> set[str]:
    """Every tensor that a node yields."""
    return {name for node in model.graph.node for name in node.output if name}


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    """Inputs as onnxruntime asks for them: one batch after the other, then None."""

    def __init__(self, name: str, inputs: Inputs) -> None:
        self.batches = iter([{name: inputs[at : at + AT_ONCE]} for at in range(0, len(inputs), AT_ONCE)])

    def get_next(self) -> dict[str, Inputs] | None:
        return next(self.batches, None)
