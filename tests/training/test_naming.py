import json

import numpy as np
import onnx
import pytest
from torch import Tensor, nn

from service.inference.graph.layers import FOLDED_KEY
from tests.training.conftest import FASHION, TINY, settled
from training.deployed import Deployed
from training.export import exported_graph
from training.networks.table import build
from training.parity import layer_differences, layer_outputs, module_outputs


class Residual(nn.Module):
    """Functional operations, an activation called twice, and a normalisation that has nothing to be folded into."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 3, 3, padding=1)
        self.conv2 = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(3)
        self.relu = nn.ReLU()
        self.last = nn.BatchNorm2d(3)

    def forward(self, planes: Tensor) -> Tensor:
        first = self.relu(self.conv1(planes))
        return self.last(self.relu(first + self.norm2(self.conv2(first))))  # type: ignore[no-any-return]


class Odd(nn.Module):
    """A network of it, with operations of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stage2 = Residual()
        self.head = nn.Linear(3, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.stage2(pixels.permute(0, 3, 1, 2).float() / 255)
        return self.head(features.mean(dim=(2, 3)))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    return settled(build(TINY, FASHION.task))


@pytest.fixture(scope="module")
def graph(plain: nn.Module) -> onnx.ModelProto:
    return exported_graph(Deployed(plain, FASHION.task), FASHION.task.input)


@pytest.fixture(scope="module")
def odd() -> nn.Module:
    return settled(Odd())


@pytest.fixture(scope="module")
def odd_graph(odd: nn.Module) -> onnx.ModelProto:
    return exported_graph(Deployed(odd, FASHION.task), FASHION.task.input)


def pixels(count: int = 3) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(1).integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)


def names(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node]


def folded(model: onnx.ModelProto) -> dict[str, list[str]]:
    return {
        node.name: json.loads(item.value)
        for node in model.graph.node
        for item in node.metadata_props
        if item.key == FOLDED_KEY
    }


def test_layers_are_named_after_modules(graph: onnx.ModelProto) -> None:
    assert names(graph) == [
        *("input.planes", "input.scaled.cast", "input.scaled.sub", "input.scaled"),
        *("stem.norm", "stem.relu", "stem.pool"),
        *("stage1.norm1", "stage1.relu1", "stage1.norm2", "stage1.relu2", "stage1.pool"),
        *("stage2.norm1", "stage2.relu1", "stage2.norm2", "stage2.relu2", "stage2.pool"),
        *("flatten", "head", "probabilities"),
    ]


def test_a_node_bears_its_outputs_name(graph: onnx.ModelProto, odd_graph: onnx.ModelProto) -> None:
    for node in (*graph.graph.node, *odd_graph.graph.node):
        assert node.name == node.output[0]


def test_weights_keep_their_modules_names(graph: onnx.ModelProto) -> None:
    weights = {item.name for item in graph.graph.initializer}
    assert {"stem.conv.weight", "stem.conv.bias", "head.weight", "input.scaled.mean", "flatten.constant"} <= weights


def test_normalisation_is_folded_into_the_convolution_and_said_so(graph: onnx.ModelProto) -> None:
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}
    assert folded(graph) == {
        "stem.norm": ["stem.conv"],
        "stage1.norm1": ["stage1.conv1"],
        "stage1.norm2": ["stage1.conv2"],
        "stage2.norm1": ["stage2.conv1"],
        "stage2.norm2": ["stage2.conv2"],
    }


def test_every_layer_named_after_a_module_equals_its_hook(graph: onnx.ModelProto, plain: nn.Module) -> None:
    differences = layer_differences(graph, plain, pixels())
    assert set(names(graph)) - set(differences) == {"input.scaled.cast", "input.scaled.sub", "probabilities"}
    assert max(differences.values()) <= 1e-4


def test_the_hooks_tell_a_convolution_from_the_normalisation_after_it(graph: onnx.ModelProto, plain: nn.Module) -> None:
    modules = module_outputs(plain, pixels())
    layer = layer_outputs(graph, pixels())["stem.norm"]
    assert np.abs(layer - modules["stem.conv"]).max() > 0.1


def test_functional_operations_stand_under_their_module(odd_graph: onnx.ModelProto) -> None:
    assert "stage2.add" in names(odd_graph)
    assert {"transpose", "cast", "div"} <= set(names(odd_graph))


def test_a_module_called_twice_gives_two_names(odd_graph: onnx.ModelProto) -> None:
    assert {"stage2.relu", "stage2.relu.2"} <= set(names(odd_graph))
    assert len(set(names(odd_graph))) == len(names(odd_graph))


def test_a_normalisation_with_nothing_to_fold_into_stays_a_layer(odd_graph: onnx.ModelProto, odd: nn.Module) -> None:
    assert folded(odd_graph) == {"stage2.norm2": ["stage2.conv2"]}
    differences = layer_differences(odd_graph, odd, pixels())
    assert {"stage2.conv1", "stage2.norm2", "stage2.relu", "stage2.last", "head"} == set(differences)
    assert max(differences.values()) <= 1e-4


def test_no_path_of_the_exporting_machine_is_left(graph: onnx.ModelProto) -> None:
    data = graph.SerializeToString()
    for trace in (b".py", b"pkg.torch", b"stack_trace", b"/training/"):
        assert trace not in data


def test_the_batch_is_free_and_called_n(graph: onnx.ModelProto) -> None:
    for value in (*graph.graph.input, *graph.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "N"
    assert [value.name for value in graph.graph.input] == ["pixels"]
    assert [value.name for value in graph.graph.output] == ["probabilities"]
