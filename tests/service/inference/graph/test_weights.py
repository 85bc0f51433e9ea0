from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.errors import NotAcceptable, UnknownName
from service.inference.graph.channels import channel_axes
from service.inference.graph.layers import Graph
from service.inference.graph.weights import LayerWeights, layer_weights
from tests.service.inference.small import Array, build, classic, run, weight


def weights_of(model: onnx.ModelProto, layer: str) -> LayerWeights:
    graph = Graph.of(model)
    axes = channel_axes(model.graph, {name: row.shape for name, row in graph.rows.items()})
    return layer_weights(model, graph, layer, axes)


def one_node(op: str, shape: tuple[int, ...], weights: dict[str, Array], **settings: Any) -> onnx.ModelProto:
    node = helper.make_node(op, ["x", *weights], ["y"], **settings)
    return build([node], {"x": ["N", *shape]}, ["y"], weights)


def test_a_convolution_has_its_kernel_and_its_bias() -> None:
    found = weights_of(classic(), "conv1")
    assert (found.layer, found.op, found.axes) == ("conv1", "Conv", ("out", "in", "space", "space"))
    np.testing.assert_array_equal(found.arrays["weight"], weight(4, 1, 3, 3))
    np.testing.assert_array_equal(found.arrays["bias"], weight(4))
    assert list(weights_of(classic(), "conv2").arrays) == ["weight"]


@pytest.mark.parametrize("groups", [1, 2])
def test_kernels_of_a_transposed_convolution_are_turned_round(groups: int) -> None:
    """Channel o of the output is what its kernels make of the input: seen by an input of one single 1."""
    model = one_node("ConvTranspose", (4, 1, 1), {"w": weight(4, 3, 2, 2)}, group=groups)
    kernels = weights_of(model, "y").kernels()
    assert kernels.shape == (3 * groups, 4 // groups, 2, 2)
    for given in range(4):
        x = np.zeros((1, 4, 1, 1), np.float32)
        x[0, given] = 1
        [seen] = run(model, {"x": x}, ["y"]).values()
        group, place = divmod(given, 4 // groups)
        rows = slice(3 * group, 3 * group + 3)
        np.testing.assert_allclose(seen[0, rows], kernels[rows, place], atol=1e-6)


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_matrix_has_a_row_per_output_whatever_its_order_in_the_file(transposed: int) -> None:
    matrix = weight(5, 3)
    model = one_node("Gemm", (3,), {"w": matrix if transposed else matrix.T}, transB=transposed)
    np.testing.assert_array_equal(weights_of(model, "y").kernels(), matrix)


def test_a_product_from_either_side() -> None:
    right = one_node("MatMul", (3,), {"w": weight(3, 5)})
    np.testing.assert_array_equal(weights_of(right, "y").kernels(), weight(3, 5).T)
    node = helper.make_node("MatMul", ["w", "x"], ["y"])
    left = build([node], {"x": [3, 2]}, ["y"], {"w": weight(5, 3)})
    np.testing.assert_array_equal(weights_of(left, "y").kernels(), weight(5, 3))


def test_a_bias_that_is_added_afterwards_belongs_to_the_sum() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["product"]), helper.make_node("Add", ["b", "product"], ["y"])]
    model = build(nodes, {"x": ["N", 3]}, ["y"], {"w": weight(3, 5), "b": weight(5)})
    found = weights_of(model, "y")
    assert (found.layer, found.op) == ("y", "Add")
    np.testing.assert_array_equal(found.arrays["weight"], weight(3, 5))
    np.testing.assert_array_equal(found.arrays["bias"], weight(5))
    assert list(weights_of(model, "product").arrays) == ["weight"]


def test_a_dense_layer_behind_a_flatten_is_given_back_its_space() -> None:
    found = weights_of(classic(), "dense1")
    assert found.arrays["weight"].shape == (10, 64)
    np.testing.assert_array_equal(found.kernels(), weight(10, 64).reshape(10, 4, 4, 4))
    assert weights_of(classic(), "dense2").kernels().ndim == 2


def test_space_of_a_flatten_that_had_its_channels_last() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("MaxPool", ["planes"], ["pool"], kernel_shape=[1, 1]),
        helper.make_node("Transpose", ["pool"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["last"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    model = build(nodes, {"x": ["N", 2, 4, 3]}, ["y"], {"w": weight(24, 5)})
    expected = np.moveaxis(weight(24, 5).T.reshape(5, 2, 4, 3), -1, 1)
    np.testing.assert_array_equal(weights_of(model, "y").kernels(), expected)


def test_a_kernel_from_a_constant_node_or_computed_of_constants() -> None:
    kernel = numpy_helper.from_array(weight(2, 3, 1, 1))
    nodes = [
        helper.make_node("Constant", [], ["half"], value=kernel),
        helper.make_node("Add", ["half", "half"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    found = weights_of(build(nodes, {"x": ["N", 3, 4, 4]}, ["y"]), "y")
    np.testing.assert_array_equal(found.arrays["weight"], weight(2, 3, 1, 1) * 2)


def test_quantised_kernels_are_dequantised() -> None:
    numbers = np.arange(-6, 6, dtype=np.int8).reshape(2, 6, 1, 1)
    scales = np.array([0.5, 0.25], np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    weights: dict[str, Array] = {"q": numbers, "s": scales, "z": np.zeros(2, np.int8)}
    found = weights_of(build(nodes, {"x": ["N", 6, 4, 4]}, ["y"], weights), "y")
    np.testing.assert_array_equal(found.arrays["weight"], numbers * scales.reshape(2, 1, 1, 1))


def test_a_quantised_convolution_has_weights_in_real_units() -> None:
    numbers, scales = np.arange(-6, 6, dtype=np.int8).reshape(2, 6, 1, 1), np.array([0.5, 0.25], np.float32)
    weights: dict[str, Any] = {
        "xs": np.float32(0.1), "xz": np.uint8(0), "w": numbers, "ws": scales, "wz": np.array([1, 0], np.int8),
        "ys": np.float32(1), "yz": np.uint8(0), "b": np.array([10, 20], np.int32),
    }  # fmt: skip
    arrays: dict[str, Array] = {name: np.asarray(value) for name, value in weights.items()}
    node = helper.make_node("QLinearConv", ["x", *weights], ["y"])
    model = build([node], {"x": ["N", 6, 4, 4]}, ["y"], arrays)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    found = weights_of(model, "y")
    expected = (numbers - np.array([1, 0]).reshape(2, 1, 1, 1)) * scales.reshape(2, 1, 1, 1)
    np.testing.assert_allclose(found.arrays["weight"], expected)
    np.testing.assert_allclose(found.arrays["bias"], [0.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize("layer", ["relu1", "pool", "flat", "sum"])
def test_a_layer_without_weights_has_none(layer: str) -> None:
    with pytest.raises(NotAcceptable, match="no kernel and no matrix"):
        weights_of(classic(), layer)


def test_a_product_of_two_layers_has_no_weights() -> None:
    model = build([helper.make_node("MatMul", ["x", "x"], ["y"])], {"x": [3, 3]}, ["y"])
    with pytest.raises(NotAcceptable):
        weights_of(model, "y")


def test_a_namesake_of_another_domain_has_no_weights() -> None:
    with pytest.raises(NotAcceptable, match=r"'y' \(Conv\) has no kernel"):
        weights_of(one_node("Conv", (1, 4, 4), {}, domain="my"), "y")


def test_an_unknown_layer_is_unknown() -> None:
    with pytest.raises(UnknownName):
        weights_of(classic(), "conv9")
