import json
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from onnx import helper, numpy_helper

from service.errors import UnknownName
from service.inference.graph.dense_equivalent import DenseEquivalent
from service.inference.graph.layers import FOLDED_KEY, Graph, Layer, Totals
from service.inference.graph.receptive_field import ReceptiveField
from tests.service.inference.graph.foreign import detector
from tests.service.inference.graph.test_subgraph import random_models
from tests.service.inference.small import Array, branching, build, classic, run, weight


def only_layer(op: str, inputs: list[str], shape: list[int | str], weights: dict[str, Any], **settings: Any) -> Layer:
    model = build([helper.make_node(op, inputs, ["y"], **settings)], {"x": shape}, ["y"], weights)
    [layer] = Graph.of(model).layers
    return layer


def test_row_of_a_convolution() -> None:
    assert Graph.of(classic()).layer("conv2") == Layer(
        name="conv2",
        op="Conv",
        kind="conv",
        inputs=("relu1",),
        folded=(),
        shape=("N", 4, 8, 8),
        kernel=(3, 3),
        stride=(1, 1),
        padding=(1, 1, 1, 1),
        dilation=(1, 1),
        groups=2,
        parameters=4 * 2 * 3 * 3,
        macs=4 * 8 * 8 * 2 * 3 * 3,
        receptive_field=ReceptiveField(size=5, step=1, start=-2),
        dense_equivalent=DenseEquivalent(dense=(4 * 64) ** 2, shared=15 * 15 * 4 * 4, local=4 * 2 * 3 * 3),
    )


def test_row_of_an_activation_leaves_empty_what_has_no_meaning() -> None:
    row = Graph.of(classic()).layer("relu1")
    assert (row.kernel, row.stride, row.padding, row.dilation, row.groups, row.macs) == (None,) * 6
    assert row.parameters == 0


def test_layers_come_in_the_order_of_the_graph_with_what_feeds_them() -> None:
    assert [(row.name, row.inputs) for row in Graph.of(classic()).layers] == [
        ("conv1", ("x",)),
        ("relu1", ("conv1",)),
        ("conv2", ("relu1",)),
        ("sum", ("conv2", "relu1")),
        ("pool", ("sum",)),
        ("flat", ("pool",)),
        ("dense1", ("flat",)),
        ("dense2", ("dense1",)),
    ]


def test_totals_are_sums_over_the_layers() -> None:
    graph = Graph.of(classic())
    assert graph.totals == Totals(
        parameters=4 * 9 + 4 + 4 * 2 * 9 + 10 * 64 + 10 + 10 * 5,
        macs=64 * 36 + 64 * 72 + 640 + 50,
        layers=8,
        dense_equivalent=DenseEquivalent(dense=64 * 256 + 256 * 256, shared=225 * (4 + 16), local=36 + 72),
    )
    assert graph.totals.parameters == sum(row.parameters for row in graph.layers)


@pytest.mark.parametrize("batch", [1, 3, None, "anything"])
def test_costs_are_per_input_whatever_the_batch(batch: int | str | None) -> None:
    assert Graph.of(classic(batch)).totals == Graph.of(classic()).totals


def test_unknown_extents_leave_cost_unknown_and_say_so_in_the_total() -> None:
    nodes = [helper.make_node("Conv", ["x", "k"], ["a"]), helper.make_node("GlobalAveragePool", ["a"], ["b"])]
    nodes += [helper.make_node("Flatten", ["b"], ["c"]), helper.make_node("MatMul", ["c", "w"], ["y"])]
    weights = {"k": weight(2, 3, 3, 3), "w": weight(2, 5)}
    graph = Graph.of(build(nodes, {"x": ["N", 3, "h", "w"]}, ["y"], weights))
    assert [row.macs for row in graph.layers] == [None, None, None, 10]
    unknown = DenseEquivalent(dense=None, shared=None, local=54)
    assert graph.totals == Totals(parameters=54 + 10, macs=None, layers=4, dense_equivalent=unknown)
    assert graph.layer("a").dense_equivalent == unknown


@pytest.mark.parametrize(
    ("op", "inputs", "shape", "weights", "settings", "macs"),
    [
        ("Conv", ["x", "w"], ["N", 6, 9], {"w": weight(4, 2, 3)}, {"group": 3}, 4 * 7 * 2 * 3),
        ("ConvTranspose", ["x", "w"], ["N", 6, 4, 4], {"w": weight(6, 2, 3, 3)}, {"strides": [2, 2]}, 6 * 16 * 2 * 9),
        ("Gemm", ["x", "w"], ["N", 6], {"w": weight(6, 4)}, {}, 24),
        ("Gemm", ["x", "w"], ["N", 6], {"w": weight(4, 6)}, {"transB": 1}, 24),
        ("MatMul", ["x", "w"], ["N", 7, 6], {"w": weight(6, 4)}, {}, 7 * 24),
        ("MatMul", ["x", "w"], ["N", 6], {"w": weight(6)}, {}, 6),
        ("MatMul", ["w", "x"], ["N", 6, 7], {"w": weight(4, 6)}, {}, 4 * 7 * 6),
        ("MatMul", ["x", "x"], ["N", 6, 6], {}, {}, None),
    ],
)
def test_multiply_adds(
    op: str, inputs: list[str], shape: list[int | str], weights: dict[str, Any], settings: Any, macs: int | None
) -> None:
    assert only_layer(op, inputs, shape, weights, **settings).macs == macs


@pytest.mark.parametrize("ir_version", [3, 10])
def test_initialiser_listed_as_input_is_a_weight(ir_version: int) -> None:
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"])]
    model = build(nodes, {"w": [3], "x": ["N", 3]}, ["y"], {"w": weight(3)}, opset=7, ir_version=ir_version)
    graph = Graph.of(model)
    assert graph.inputs == ("x",)
    assert graph.layer("y").inputs == ("x",)
    assert graph.totals.parameters == 3


def test_shared_weight_counts_once_in_the_total() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["y"])]
    graph = Graph.of(build(nodes, {"x": ["N", 4]}, ["y"], {"w": weight(4, 4)}))
    assert [row.parameters for row in graph.layers] == [16, 16]
    assert graph.totals.parameters == 16


def test_constant_node_is_a_weight_left_out_of_the_table_yet_a_layer() -> None:
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(weight(3)))
    graph = Graph.of(build([constant, helper.make_node("Add", ["x", "c"], ["y"])], {"x": ["N", 3]}, ["y"]))
    assert [(row.name, row.inputs, row.parameters) for row in graph.layers] == [("y", ("x",), 3)]
    assert [row.name for row in graph.table(frozenset({"all"}))] == ["c", "y"]
    assert graph.layer_names == ("c", "y")
    assert graph.totals.layers == 1


def test_an_output_of_the_model_is_no_plumbing() -> None:
    nodes = [helper.make_node("Shape", ["x"], ["shape"]), helper.make_node("Shape", ["shape"], ["rank"])]
    graph = Graph.of(build([*nodes, helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", 3]}, ["y", "rank"]))
    assert [(row.name, row.kind, row.inputs) for row in graph.layers] == [
        ("rank", None, ()), ("y", "activation", ("x",)),
    ]  # fmt: skip


def test_numbers_that_steer_an_operation_are_no_parameters() -> None:
    weights: dict[str, Array] = {
        "target": np.array([-1, 2]),
        "low": np.zeros((), np.float32),
        "scales": np.ones(2, np.float32),
    }
    nodes = [
        helper.make_node("Reshape", ["x", "target"], ["a"]),
        helper.make_node("Clip", ["a", "low"], ["b"]),
        helper.make_node("Resize", ["b", "", "scales"], ["y"]),
    ]
    assert Graph.of(build(nodes, {"x": ["N", 4]}, ["y"], weights)).totals.parameters == 0


def test_thresholds_of_a_detector_are_no_parameters() -> None:
    graph = Graph.of(detector())
    assert graph.totals.parameters == graph.layer("y").parameters == 0


def test_a_weight_that_is_clipped_is_a_weight() -> None:
    nodes = [helper.make_node("Clip", ["k", "low"], ["bounded"]), helper.make_node("Mul", ["x", "bounded"], ["y"])]
    graph = Graph.of(build(nodes, {"x": ["N", 4]}, ["y"], {"k": weight(4), "low": np.zeros((), np.float32)}))
    assert graph.totals.parameters == graph.layer("y").parameters == 4


def test_a_branching_node_is_fed_by_what_its_bodies_capture_and_holds_their_weights() -> None:
    graph = Graph.of(branching())
    assert sorted(graph.layer("chosen").inputs) == ["left", "positive", "right"]
    assert graph.layer("chosen").parameters == 3 + 3 + 3  # `w`, and a constant in each body
    assert graph.totals.parameters == 9
    assert "product" not in graph.layer_names


def test_folded_modules_are_read_from_the_node() -> None:
    model = classic()
    model.graph.node[0].metadata_props.add(key=FOLDED_KEY, value=json.dumps(["stem.conv"]))
    graph = Graph.of(model)
    assert graph.layer("conv1").folded == ("stem.conv",)
    assert graph.layer("relu1").folded == ()


def test_node_of_several_outputs_has_its_weights_on_the_first() -> None:
    lstm = helper.make_node("LSTM", ["x", "w", "r"], ["", "last", "cell"], hidden_size=4)
    weights = {"w": weight(1, 16, 3), "r": weight(1, 16, 4)}
    graph = Graph.of(build([lstm], {"x": [7, "N", 3]}, ["last"], weights))
    assert [(row.name, row.parameters) for row in graph.layers] == [("last", 48 + 64), ("cell", 0)]


def test_dequantised_kernel_is_a_weight() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["k"], axis=1),
        helper.make_node("MatMul", ["x", "k"], ["y"]),
    ]
    weights: dict[str, Array] = {"q": np.ones((4, 5), np.int8), "s": np.ones(5, np.float32)}
    graph = Graph.of(build(nodes, {"x": ["N", 4]}, ["y"], weights))
    assert graph.layer("y").macs == 20
    assert [(row.name, row.parameters) for row in graph.layers] == [("y", 20)]
    assert graph.layer("k").parameters == 0
    assert graph.totals.parameters == 20


def test_unknown_layer_is_refused() -> None:
    with pytest.raises(UnknownName, match="conv1"):
        Graph.of(classic()).layer("conv9")


def test_graph_that_shape_inference_refuses_has_a_table_without_shapes() -> None:
    model = classic()
    model.ClearField("opset_import")
    assert [row.shape for row in Graph.of(model).layers] == [None] * 8


@given(random_models())
def test_table_agrees_with_itself_and_with_the_values(model: onnx.ModelProto) -> None:
    graph = Graph.of(model)
    values = run(model, {"x": weight(2, 3), "unused": weight(1)}, graph.layer_names)
    known = {*graph.inputs}
    for row in graph.layers:
        assert known.issuperset(row.inputs)
        assert row.shape is None or row.shape == values[row.name].shape
        known.add(row.name)
    assert graph.totals.layers == len(graph.layers)
    assert graph.totals.parameters in (0, 3)
