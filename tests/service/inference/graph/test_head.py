import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from service.inference.graph.head import LinearHead
from tests.service.inference.small import Array, build, classic, run, weight

X = weight(1, 3, 6, 4)
FIRST = (0, 1, 2, 3)


def model(*nodes: onnx.NodeProto, **weights: Array) -> onnx.ModelProto:
    """A convolution, which yields `space` [1, 5, 6, 4], then `nodes`, the last of which yields `y`."""
    conv = helper.make_node("Conv", ["x", "kernel"], ["space"], pads=[1, 1, 1, 1])
    return build([conv, *nodes], {"x": [1, 3, 6, 4]}, ["y"], {"kernel": weight(5, 3, 3, 3), **weights})


def head(model: onnx.ModelProto) -> LinearHead | None:
    return LinearHead.of(model, "y", {"x": FIRST})


def node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), [output], **attributes)


POOL = node("GlobalAveragePool", ["space"], "pool")
FLAT = node("Flatten", ["space"], "flat")
SQUEEZE = node("Flatten", ["pool"], "vector")
LAST = node("Transpose", ["space"], "last", perm=[0, 2, 3, 1])
AXES = np.array([1, 2])
DENSE = {"w": weight(120, 7)}


def flattened(*between: onnx.NodeProto) -> onnx.ModelProto:
    """What the last of `between` yields, flattened and multiplied."""
    last = between[-1].output[0]
    return model(*between, node("Flatten", [last], "flat"), node("MatMul", ["flat", "w"], "y"), **DENSE)


LINEAR = {
    "mean, then Gemm": model(
        POOL, SQUEEZE, node("Gemm", ["vector", "w", "b"], "y", transB=1), w=weight(7, 5), b=weight(7)
    ),
    "Gemm with alpha and beta": model(
        FLAT, node("Gemm", ["flat", "w", "b"], "y", alpha=0.5, beta=-2.0), w=weight(120, 7), b=weight(1)
    ),
    "flatten, then MatMul and Add": model(
        FLAT,
        node("MatMul", ["flat", "w"], "product"),
        node("Add", ["b", "product"], "y"),
        w=weight(120, 7),
        b=weight(7),
    ),
    "two dense layers in a row": model(
        FLAT,
        node("Gemm", ["flat", "v", "b"], "hidden"),
        node("Gemm", ["hidden", "w", "c"], "logits"),
        node("Dropout", ["logits"], "kept"),
        node("Softmax", ["kept"], "y"),
        v=weight(120, 9),
        b=weight(9),
        w=weight(9, 7),
        c=weight(7),
    ),
    "a mean alone": model(POOL, node("Softmax", ["pool"], "y", axis=1)),
    "a mean with the channels last": model(
        LAST,
        node("ReduceMean", ["last", "axes"], "pool", keepdims=0),
        node("MatMul", ["pool", "w"], "y"),
        w=weight(5, 7),
        axes=AXES,
    ),
    "flatten with the channels last": model(
        LAST,
        node("Reshape", ["last", "shape"], "flat"),
        node("MatMul", ["flat", "w"], "y"),
        w=weight(120, 7),
        shape=np.array([1, -1]),
    ),
    "a convolution of one place": model(
        POOL,
        node("Conv", ["pool", "w", "b"], "scores"),
        node("Flatten", ["scores"], "flat"),
        node("Sigmoid", ["flat"], "y"),
        w=weight(7, 5, 1, 1),
        b=weight(7),
    ),
}

LINEAR |= {
    "channels last, an activation, flatten": flattened(LAST, node("Relu", ["last"], "bent")),
    "channels last, a cast, flatten": flattened(LAST, node("Cast", ["last"], "bent", to=1)),
    "channels last, nothing, flatten": flattened(LAST, node("Identity", ["last"], "bent")),
    "channels last, a sum, flatten": flattened(LAST, node("Add", ["last", "last"], "bent")),
    "a maximum over nothing, flatten": flattened(node("ReduceMax", ["space"], "bent", noop_with_empty_axes=1)),
    "width before height, flatten": flattened(node("Transpose", ["space"], "bent", perm=[0, 1, 3, 2])),
    "width first, flatten": flattened(node("Transpose", ["space"], "bent", perm=[0, 3, 1, 2])),
    "width before height, mean": model(
        node("Transpose", ["space"], "bent", perm=[0, 1, 3, 2]),
        node("GlobalAveragePool", ["bent"], "pool"), node("Flatten", ["pool"], "vector"),
        node("MatMul", ["vector", "w"], "y"), w=weight(5, 7),
    ),
    "a mean over negative axes": model(
        node("ReduceMean", ["space", "axes"], "pool", keepdims=0), node("MatMul", ["pool", "w"], "y"),
        w=weight(5, 7), axes=np.array([-1, -2]),
    ),
    "a pooling as large as the map": model(
        node("AveragePool", ["space"], "pool", kernel_shape=[6, 4]), SQUEEZE, node("MatMul", ["vector", "w"], "y"),
        w=weight(5, 7),
    ),
    "the logarithm of a softmax": model(
        FLAT, node("MatMul", ["flat", "w"], "z"), node("LogSoftmax", ["z"], "y", axis=1), **DENSE
    ),
    "a temperature": model(
        FLAT, node("Gemm", ["flat", "w", "b"], "z"), node("Div", ["z", "t"], "cool"), node("Softmax", ["cool"], "y"),
        b=weight(7), t=np.array(2.5, np.float32), **DENSE,
    ),
    "a factor and an offset for each class": model(
        FLAT, node("MatMul", ["flat", "w"], "z"), node("Mul", ["k", "z"], "scaled"), node("Sub", ["scaled", "o"], "y"),
        k=weight(7) + 3, o=weight(1, 7), **DENSE,
    ),
    "a factor before the weights": model(
        FLAT, node("Mul", ["flat", "k"], "scaled"), node("MatMul", ["scaled", "w"], "z"), node("Add", ["z", "o"], "y"),
        k=np.array(0.5, np.float32), o=weight(7), **DENSE,
    ),
    "a product along the channels of every place": model(
        LAST, node("MatMul", ["last", "v"], "bent"), node("Flatten", ["bent"], "flat"),
        node("Gemm", ["flat", "w"], "y"), v=weight(5, 5), **DENSE,
    ),
    "each feature standardised": model(
        FLAT, node("Sub", ["flat", "mean"], "centred"), node("Div", ["centred", "deviation"], "standard"),
        node("MatMul", ["standard", "w"], "y"), mean=weight(1, 120), deviation=np.abs(weight(120)) + 1, **DENSE,
    ),
    "a factor for each channel of a mean": model(
        POOL, node("Mul", ["pool", "k"], "scaled"), node("Flatten", ["scaled"], "vector"),
        node("MatMul", ["vector", "w"], "y"), k=weight(5, 1, 1), w=weight(5, 7),
    ),
    "a factor for each score, nothing else": model(POOL, SQUEEZE, node("Mul", ["vector", "k"], "y"), k=weight(5) + 3),
    "a mean, scaled": model(POOL, SQUEEZE, node("Div", ["vector", "t"], "z"), node("Add", ["z", "o"], "y"),
        t=np.array(4, np.float32), o=weight(5)),
}  # fmt: skip

LARGEST = {
    "a global maximum": model(
        node("GlobalMaxPool", ["space"], "pool"), SQUEEZE, node("Gemm", ["vector", "w", "b"], "y"),
        w=weight(5, 7), b=weight(7),
    ),
    "a maximum with the channels last": model(
        LAST, node("ReduceMax", ["last", "axes"], "pool", keepdims=0), node("MatMul", ["pool", "w"], "y"),
        w=weight(5, 7), axes=AXES,
    ),
    "a maximum pooling as large as the map": model(
        node("MaxPool", ["space"], "pool", kernel_shape=[6, 4]), SQUEEZE, node("MatMul", ["vector", "w"], "y"),
        w=weight(5, 7),
    ),
}  # fmt: skip

NOT_LINEAR = {
    "an activation between": model(
        FLAT, node("MatMul", ["flat", "v"], "h"), node("Relu", ["h"], "a"), node("MatMul", ["a", "w"], "y"),
        v=weight(120, 9), w=weight(9, 7),
    ),
    "two softmaxes": model(POOL, node("Softmax", ["pool"], "once", axis=1), node("Softmax", ["once"], "y", axis=1)),
    "a product of two features": model(POOL, SQUEEZE, node("Mul", ["vector", "vector"], "y")),
    "nothing behind a map": model(node("Relu", ["space"], "y")),
    "a mean over channels and height": model(
        node("ReduceMean", ["space", "axes"], "pool", keepdims=0), node("MatMul", ["pool", "w"], "y"),
        w=weight(4, 7), axes=AXES,
    ),
    "a mean over height alone": model(
        node("ReduceMean", ["space", "axes"], "pool"), node("Flatten", ["pool"], "flat"),
        node("MatMul", ["flat", "w"], "y"), w=weight(20, 7), axes=np.array([2]),
    ),
    "a maximum over height alone": model(
        node("ReduceMax", ["space", "axes"], "pool"), node("Flatten", ["pool"], "flat"),
        node("MatMul", ["flat", "w"], "y"), w=weight(20, 7), axes=np.array([2]),
    ),
    "a maximum over what nobody says": model(
        node("ReduceMax", ["space"], "pool"), node("Flatten", ["pool"], "flat"), node("MatMul", ["flat", "w"], "y"),
        w=weight(1, 7),
    ),
    "where the maximum stands": model(
        helper.make_node("MaxPool", ["space"], ["pool", "places"], kernel_shape=[6, 4]),
        node("Cast", ["places"], "numbers", to=1), node("Flatten", ["numbers"], "flat"),
        node("MatMul", ["flat", "w"], "y"), w=weight(5, 7),
    ),
    "a maximum with the channels for height": model(
        LAST, node("GlobalMaxPool", ["last"], "pool"), SQUEEZE, node("MatMul", ["vector", "w"], "y"), w=weight(6, 7)
    ),
    "a pooling that counts padding": model(
        node("AveragePool", ["space"], "pool", kernel_shape=[6, 4], strides=[6, 4], pads=[0, 0, 3, 0]), SQUEEZE,
        node("MatMul", ["vector", "w"], "y"), w=weight(5, 7),
    ),
    "a constant divided by the scores": model(
        FLAT, node("MatMul", ["flat", "w"], "z"), node("Div", ["t", "z"], "y"), t=np.array(2.5, np.float32), **DENSE
    ),
    "a matrix that is turned at run time": model(
        POOL, node("Reshape", ["pool", "shape"], "column"), node("Gemm", ["column", "w"], "y", transA=1),
        shape=np.array([5, 1]), w=weight(5, 7),
    ),
    "a product in groups of features": model(
        POOL, node("Reshape", ["pool", "shape"], "groups"), node("MatMul", ["groups", "v"], "mixed"),
        node("Flatten", ["mixed"], "vector"), node("Gemm", ["vector", "w"], "y"),
        shape=np.array([1, 5, 1]), v=weight(1, 2), w=weight(10, 7),
    ),
    "an offset for each of a group of features": model(
        FLAT, node("Reshape", ["flat", "shape"], "groups"), node("Add", ["groups", "o"], "moved"),
        node("Flatten", ["moved"], "rows"), node("Gemm", ["rows", "w"], "y"),
        shape=np.array([1, 24, 5]), o=weight(5), **DENSE,
    ),
    "an offset that makes a matrix of the features": model(
        FLAT, node("Add", ["flat", "o"], "rows"), node("Gemm", ["rows", "w"], "y"), o=weight(3, 1), **DENSE
    ),
    "a convolution in groups": model(
        POOL, node("Conv", ["pool", "w"], "scores", group=5), node("Flatten", ["scores"], "y"), w=weight(5, 1, 1, 1)
    ),
    "a flatten of what a reshape has made": model(
        FLAT, node("Reshape", ["flat", "shape"], "again"), node("Relu", ["again"], "bent"),
        node("Flatten", ["bent"], "rows"), node("MatMul", ["rows", "w"], "y"),
        shape=np.array([1, 4, 6, 5]), **DENSE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [*LINEAR, *LARGEST])
def test_the_places_and_the_bias_add_up_to_every_logit(name: str) -> None:
    graph = (LINEAR | LARGEST)[name]
    found = head(graph)
    assert found
    assert found.layer in ("space", "last", "bent")
    values = run(graph, {"x": X}, [found.layer, found.logits])
    logits = values[found.logits].ravel()
    for index, logit in enumerate(logits):
        parts = found.maps(values[found.layer][0], index)
        assert parts
        assert parts[0].shape == (6, 4)
        assert parts[0].std() > 0
        np.testing.assert_allclose(parts[0].sum() + parts[1], logit, rtol=1e-4, atol=1e-4)
    assert found.maps(values[found.layer][0], len(logits)) is None


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_what_is_not_linear_has_no_linear_head(name: str) -> None:
    assert head(NOT_LINEAR[name]) is None


def test_each_place_counts_with_its_own_weights() -> None:
    found = head(LINEAR["flatten, then MatMul and Add"])
    assert found
    features = np.zeros((5, 6, 4), np.float32)
    features[2, 3, 1] = 2.0
    parts = found.maps(features, 6)
    assert parts
    expected = np.zeros((6, 4))
    expected[3, 1] = 2.0 * weight(120, 7).reshape(5, 6, 4, 7)[2, 3, 1, 6]
    np.testing.assert_allclose(parts[0], expected, rtol=1e-6)


def after_space(model: onnx.ModelProto) -> onnx.ModelProto:
    """What comes behind the convolution, which is fed instead."""
    behind = onnx.ModelProto()
    behind.CopyFrom(model)
    behind.graph.input.pop()
    behind.graph.input.append(helper.make_tensor_value_info("space", onnx.TensorProto.FLOAT, [1, 5, 6, 4]))
    del behind.graph.node[0]
    return behind


@pytest.mark.parametrize("name", LINEAR)
def test_a_place_of_the_map_is_that_place_of_the_picture(name: str) -> None:
    """What a place counts is what the score loses when the features of just that place are taken away."""
    found = head(LINEAR[name])
    assert found
    whole = run(LINEAR[name], {"x": X}, ["space", found.layer, found.logits])
    parts = found.maps(whole[found.layer][0], 1)
    assert parts
    behind, space = after_space(LINEAR[name]), whole["space"].copy()
    space[:, :, 4, 1] = 0
    lost = whole[found.logits].ravel()[1] - run(behind, {"space": space}, [found.logits])[found.logits].ravel()[1]
    np.testing.assert_allclose(parts[0][4, 1], lost, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool"])
def test_a_pooling_of_parts_of_the_map_is_the_last_spatial_layer(operator: str) -> None:
    halves = model(
        node(operator, ["space"], "pool", kernel_shape=[6, 2], strides=[6, 2]), SQUEEZE,
        node("MatMul", ["vector", "w"], "y"), w=weight(10, 7),
    )  # fmt: skip
    found = head(halves)
    assert found
    assert (found.layer, found.pooling) == ("pool", None)
    values = run(halves, {"x": X}, ["pool", "y"])
    parts = found.maps(values["pool"][0], 3)
    assert parts
    assert parts[0].shape == (1, 2)
    np.testing.assert_allclose(parts[0].sum() + parts[1], values["y"][0, 3], rtol=1e-4)


@pytest.mark.parametrize("name", LARGEST)
def test_what_a_channel_counts_lies_where_its_maximum_stands(name: str) -> None:
    found = head(LARGEST[name])
    assert found
    assert found.pooling == "maximum"
    places = {0: [(3, 1)], 1: [(3, 1)], 2: [(0, 2)], 3: [(5, 3), (1, 0)], 4: [(2, 2)]}
    features, expected = np.full((5, 6, 4), -2.0), np.zeros((6, 4))
    for channel, stands in places.items():
        for place in stands:
            features[channel, *place] = channel - 1.0
            expected[place] += (channel - 1.0) / len(stands) * weight(5, 7)[channel, 6]
    parts = found.maps(features if found.layer == "space" else features.transpose(1, 2, 0), 6)
    assert parts
    np.testing.assert_allclose(parts[0], expected, rtol=1e-6)


@pytest.mark.parametrize(("name", "odd"), [*((name, -np.inf) for name in LARGEST), ("a global maximum", np.nan)])
def test_a_maximum_is_found_among_values_that_are_none(name: str, odd: float) -> None:
    found = head(LARGEST[name])
    assert found
    space = np.arange(120.0, dtype=np.float32).reshape(1, 5, 6, 4)
    space[:, 2, :5] = space[:, 3, 0] = odd
    values = run(after_space(LARGEST[name]), {"space": space}, [found.logits])
    parts = found.maps(space[0] if found.layer == "space" else space[0].transpose(1, 2, 0), 6)
    assert parts
    np.testing.assert_allclose(parts[0].sum() + parts[1], values[found.logits].ravel()[6], rtol=1e-5)


def test_a_channel_without_any_number_has_no_maximum() -> None:
    found = head(LARGEST["a global maximum"])
    assert found
    features = np.full((5, 6, 4), np.nan)
    parts = found.maps(features, 6)
    assert parts
    assert not parts[0].any()


@pytest.mark.parametrize(("order", "flat"), [((0, 1, 2, 3), (3, 6, 4)), ((0, 2, 3, 1), (6, 4, 3))])
def test_a_head_on_the_input_itself_has_its_map(order: tuple[int, ...], flat: tuple[int, ...]) -> None:
    direct = build(
        [node("Flatten", ["x"], "flat"), node("MatMul", ["flat", "w"], "y")],
        {"x": [1, *flat]}, ["y"], {"w": weight(72, 7)},
    )  # fmt: skip
    assert LinearHead.of(direct, "y") is None  # nobody knows how its input lies
    found = LinearHead.of(direct, "y", {"x": order})
    assert found
    assert found.layer == "x"
    parts = found.maps(np.ones(flat), 2)
    assert parts
    assert parts[0].shape == (6, 4)


@pytest.mark.parametrize(("order", "axes"), [((0, 1, 2, 3), [2, 3]), ((0, 2, 3, 1), [1, 2])])
def test_a_mean_of_the_input_itself_is_one_over_its_places(order: tuple[int, ...], axes: list[int]) -> None:
    direct = build(
        [node("ReduceMean", ["x", "axes"], "pool", keepdims=0), node("MatMul", ["pool", "w"], "y")],
        {"x": [1, 3, 6, 3]}, ["y"], {"w": weight(3, 7), "axes": np.array(axes)},
    )  # fmt: skip
    assert LinearHead.of(direct, "y") is None
    found = LinearHead.of(direct, "y", {"x": order})
    assert found
    assert (found.layer, found.pooling) == ("x", "average")
    [other] = {(0, 1, 2, 3), (0, 2, 3, 1)} - {order}
    assert LinearHead.of(direct, "y", {"x": other}) is None


def test_a_factor_for_each_of_many_features_takes_no_square_of_them() -> None:
    wide, features = [1, 3, 64, 64], 3 * 64 * 64
    scaled = build(
        [
            node("Flatten", ["x"], "flat"), node("Sub", ["flat", "mean"], "centred"),
            node("Div", ["centred", "deviation"], "scaled"), node("Gemm", ["scaled", "w"], "y"),
        ],
        {"x": wide}, ["y"],
        {"mean": weight(features), "deviation": np.abs(weight(features)) + 1, "w": weight(features, 2)},
    )  # fmt: skip
    tracemalloc.start()
    try:
        found = LinearHead.of(scaled, "y", {"x": (0, 1, 2, 3)})
        assert found
        assert tracemalloc.get_traced_memory()[1] < 100 * 8 * features  # its square were over a gigabyte
    finally:
        tracemalloc.stop()
    x = weight(*wide)
    parts = found.maps(x[0], 1)
    assert parts
    np.testing.assert_allclose(parts[0].sum() + parts[1], run(scaled, {"x": x}, ["y"])["y"][0, 1], rtol=1e-3, atol=1e-3)


def test_features_of_another_size_than_the_weights_have_no_map() -> None:
    found = LinearHead.of(classic(), "dense2", {"x": FIRST})
    assert found
    assert (found.layer, found.pooling) == ("pool", None)
    assert found.maps(np.ones((4, 5, 4)), 0) is None
    assert found.maps(np.ones(64), 0) is None


def test_an_operator_of_another_domain_is_not_known_to_be_linear() -> None:
    foreign = onnx.ModelProto()
    foreign.CopyFrom(LINEAR["flatten, then MatMul and Add"])
    foreign.graph.node[-1].domain = "my"
    assert head(foreign) is None


def test_an_output_that_the_graph_does_not_make_has_no_head() -> None:
    assert LinearHead.of(classic(), "x", {"x": FIRST}) is None
