import onnx
from onnx import helper

from service.inference.graph.channels import channel_axes
from service.inference.graph.layers import Graph
from tests.service.inference.small import build, classic, weight


def axes(model: onnx.ModelProto) -> dict[str, int]:
    return channel_axes(model.graph, {name: row.shape for name, row in Graph.of(model).rows.items()})


def test_a_graph_of_onnx_own_layout_has_them_at_1() -> None:
    assert axes(classic()) == {}


def nhwc() -> onnx.ModelProto:
    """Pixels scaled channels last, convolved, and given back channels last, as converters from TensorFlow do."""
    node = helper.make_node
    return build(
        [
            node("Mul", ["x", "scale"], ["scaled"]),
            node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
            node("Conv", ["planes", "k"], ["conv"]),
            node("Transpose", ["conv"], ["back"], perm=[0, 2, 3, 1]),
            node("Add", ["back", "bias"], ["sum"]),
            node("Relu", ["sum"], ["relu"]),
            node("Transpose", ["relu"], ["again"], perm=[0, 3, 1, 2]),
            node("MaxPool", ["again"], ["pool"], kernel_shape=[2, 2]),
            node("Flatten", ["pool"], ["flat"]),
        ],
        {"x": ["N", 8, 8, 3]},
        ["flat"],
        {"scale": weight(1), "k": weight(5, 3, 3, 3), "bias": weight(5)},
    )


def test_channels_last_are_seen_from_the_transposes_around() -> None:
    assert {name: axis for name, axis in axes(nhwc()).items() if name != "x"} == {
        "scaled": 3, "back": 3, "sum": 3, "relu": 3,
    }  # fmt: skip


def test_a_reshape_ends_what_is_known() -> None:
    model = nhwc()
    model.graph.node.append(helper.make_node("Flatten", ["relu"], ["rows"]))
    model.graph.node.append(helper.make_node("Relu", ["rows"], ["after"]))
    assert not {"rows", "after"} & axes(model).keys()
