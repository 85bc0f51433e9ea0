from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper
from onnxruntime.quantization import quantize_static
from torch import Tensor, nn

from service.inference.graph.kinds import PLUMBING
from service.inference.graph.layers import Graph
from tests.training.conftest import FASHION, TINY, Make, settled
from training import int8
from training.config import Recipe
from training.data.table import data_set
from training.deployed import Deployed
from training.export import exported_graph
from training.int8 import QuantisationRefused, in_int8, is_int8, quantisable
from training.networks.blocks import GlobalAverage, named, scaled_planes
from training.networks.table import build
from training.parity import layer_outputs

WARMTH = 1.7
COLOUR = data_set("cifar10").task

Pixels = NDArray[np.generic]


def chain(**modules: nn.Module) -> nn.Module:
    """From CIFAR-10's pictures to its classes by way of four channels."""
    return named(input=scaled_planes(COLOUR), **modules, pool=GlobalAverage(), head=nn.Linear(4, 10))


class Times(nn.Module):
    """Each feature times a constant, which is no parameter."""

    def __init__(self, *constants: float) -> None:
        super().__init__()
        self.constants = constants

    def forward(self, values: Tensor) -> Tensor:
        return values * torch.tensor(self.constants).reshape(1, -1, *[1] * (values.ndim - 2))


def both(made_by: Recipe | nn.Module) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """A network for CIFAR-10's pictures as float and as INT8 model."""
    torch.manual_seed(1)
    network = build(made_by, COLOUR) if isinstance(made_by, Recipe) else made_by
    model = exported_graph(Deployed(settled(network), COLOUR, WARMTH), COLOUR.input)
    random = torch.randint(0, 256, (20, *COLOUR.input.shape), generator=torch.Generator().manual_seed(2))
    return model, in_int8(model, random.to(torch.uint8).numpy())


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    torch.manual_seed(1)
    return exported_graph(Deployed(settled(build(TINY, FASHION.task)), FASHION.task, WARMTH), FASHION.task.input)


@pytest.fixture
def pixels(examples: Make) -> Pixels:
    return examples(50, 4).inputs.numpy()


def reading(model: onnx.ModelProto, name: str) -> set[str]:
    return {node.op_type for node in model.graph.node if name in node.input}


def test_every_layer_keeps_its_name_its_row_and_nearly_its_numbers(graph: onnx.ModelProto, pixels: Pixels) -> None:
    made = in_int8(graph, pixels)
    before, after = Graph.of(graph), Graph.of(made)
    for name, row in before.rows.items():
        assert replace(after.rows[name], inputs=row.inputs) == row
    assert after.rows["stem.norm"].folded == ("stem.conv",)
    assert after.totals.parameters == before.totals.parameters
    assert after.totals.macs == before.totals.macs
    ours, theirs = (layer_outputs(model, pixels) for model in (made, graph))
    for name, values in theirs.items():
        near = ours[name].astype(np.float64).ravel() @ values.astype(np.float64).ravel()
        assert near / np.linalg.norm(ours[name]) / np.linalg.norm(values) > 0.99, name


def test_preprocessing_temperature_and_softmax_stay_float(graph: onnx.ModelProto, pixels: Pixels) -> None:
    made = in_int8(graph, pixels)
    for name in ("pixels", "input.planes", "input.scaled.cast", "input.scaled.sub"):
        assert not reading(made, name) & {"QuantizeLinear", "DequantizeLinear"}, name
    assert reading(made, "input.scaled") == {"QuantizeLinear"}
    assert reading(made, "head") == {"Div"}
    assert "QuantizeLinear" not in reading(made, "temperature.div")
    assert reading(made, "stem.norm") == reading(made, "stem.relu") == {"QuantizeLinear"}


def test_weights_are_signed_and_scaled_per_channel_activations_unsigned(graph: onnx.ModelProto, pixels: Pixels) -> None:
    made = in_int8(graph, pixels)
    held = {tensor.name: tensor for tensor in made.graph.initializer}
    weights = [name for name in held if name.endswith(".weight_quantized")]
    assert len(weights) == 6
    for name in weights:
        kernel = held[name]
        assert kernel.data_type == onnx.TensorProto.INT8
        assert np.abs(onnx.numpy_helper.to_array(kernel).astype(int)).max() == 127
        scale = held[name.replace("_quantized", "_scale")]
        assert list(scale.dims) == [10 if name.startswith("head") else kernel.dims[0]]
    assert held["stem.relu_zero_point"].data_type == onnx.TensorProto.UINT8


def test_what_lies_between_is_quantised_whatever_the_network() -> None:
    """Of the network that has bridges, and whose normalisations stand behind poolings while it learns."""
    model, made = both(replace(TINY, data="cifar10", network="whitened-deep"))
    inside, last = quantisable(model.graph)
    assert {"stem.whitening", "stage1.norm1", "stage2.add", "stage3.gelu3", "pool", "head"} <= inside
    assert not {name for name in inside if name.startswith(("input.", "temperature.", "_", "probabilities"))}
    assert last == ["Gemm"]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    for name in ("stage1.norm1", "stage1.gelu1", "stage2.add", "stage3.norm3"):
        assert reading(made, name) == {"QuantizeLinear"}, name
    assert reading(made, "stage3.gelu3") == {"ReduceMax"}  # which has no form for integers


def test_mean_and_deviation_are_repeated_over_the_extent_and_nothing_changes() -> None:
    model, made = both(replace(TINY, data="cifar10"))
    makers, rows = {node.output[0]: node for node in made.graph.node}, Graph.of(made).rows
    for name in ("input.scaled.sub", "input.scaled"):
        assert (makers[f"{name}/repeated"].op_type, rows[f"{name}/repeated"].kind) == ("Expand", PLUMBING)
    pixels = np.random.default_rng(3).integers(0, 256, (2, *COLOUR.input.shape), np.uint8)
    before, after = (layer_outputs(each, pixels)["input.scaled"] for each in (model, made))
    np.testing.assert_array_equal(before, after)


def test_only_constants_before_the_first_convolution_are_repeated_whatever_their_names() -> None:
    model, made = both(named(first=chain(by=Times(1, 2, 3), conv=nn.Conv2d(3, 4, 3)), by=Times(*range(10))))
    assert "first.by.constant" in {tensor.name for tensor in model.graph.initializer}
    repeated = [node.output[0] for node in made.graph.node if node.op_type == "Expand"]
    assert set(repeated) == {"first.by/repeated", "first.input.scaled/repeated", "first.input.scaled.sub/repeated"}


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.InstanceNorm2d(4, affine=True), nn.LayerNorm(30)])
def test_a_normalisation_that_no_convolution_takes_up_stays_float(norm: nn.Module) -> None:
    _, made = both(chain(conv1=nn.Conv2d(3, 4, 3), relu=nn.ReLU(), norm=norm, conv2=nn.Conv2d(4, 4, 3)))
    [found] = [node for node in made.graph.node if node.op_type.endswith("Normalization")]
    weights = {tensor.name for tensor in made.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    assert set(found.input[1:]) <= weights
    assert reading(made, "relu") == reading(made, "norm") == {"QuantizeLinear"}


def test_last_are_all_products_that_no_other_reads() -> None:
    weights = [helper.make_tensor(name, 1, [2, 2], [1.0] * 4) for name in ("a", "b", "c")]
    nodes = [
        helper.make_node("Abs", ["x"], ["before"], "before"),
        helper.make_node("MatMul", ["before", "a"], ["first"], "first"),
        helper.make_node("Relu", ["first"], ["between"], "between"),
        helper.make_node("Abs", ["x"], ["aside"], "aside"),
        helper.make_node("Gemm", ["between", "b"], ["one"], "one"),
        helper.make_node("MatMul", ["between", "c"], ["other"], "other"),
        helper.make_node("Add", ["one", "aside"], ["y"], "y"),
    ]
    shape = [helper.make_tensor_value_info(name, 1, ["N", 2]) for name in ("x", "y", "other")]
    inside, last = quantisable(helper.make_graph(nodes, "g", shape[:1], shape[1:], weights))
    assert inside == {"first", "between", "one", "other"}
    assert last == ["Gemm", "MatMul"]


def test_what_is_int8_already_is_refused(graph: onnx.ModelProto, pixels: Pixels) -> None:
    made = in_int8(graph, pixels)
    assert (is_int8(graph), is_int8(made)) == (False, True)
    with pytest.raises(QuantisationRefused, match="is INT8 already"):
        in_int8(made, pixels)


def test_a_lost_layer_is_refused(graph: onnx.ModelProto, pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(*arguments: object, **options: object) -> None:
        quantize_static(*arguments, **{**options, "extra_options": {}})

    monkeypatch.setattr(int8, "quantize_static", careless)
    with pytest.raises(QuantisationRefused, match=r"layers are lost in quantisation: stage1\.norm1, .*stem\.norm$"):
        in_int8(graph, pixels)
