from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from service.inference.graph.head import LinearHead
from tests.service.inference.small import Array, build, classic, run, weight

X = weight(1, 3, 6, 4)


def model(*nodes: onnx.NodeProto, **weights: Array) -> onnx.ModelProto:
    """A convolution, which yields `space` [1, 5, 6, 4], then `nodes`, the last of which yields `y`."""
    conv = helper.make_node("Conv", ["x", "kernel"], ["space"], pads=[1, 1, 1, 1])
    return build([conv, *nodes], {"x": [1, 3, 6, 4]}, ["y"], {"kernel": weight(5, 3, 3, 3), **weights})


def node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), [output], **attributes)


POOL = node("GlobalAveragePool", ["space"], "pool")
FLAT = node("Flatten", ["space"], "flat")
SQUEEZE = node("Flatten", ["pool"], "vector")
LAST = node("Transpose", ["space"], "last", perm=[0, 2, 3, 1])
AXES = np.array([1, 2])

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

NOT_LINEAR = {
    "an activation between": model(
        FLAT, node("MatMul", ["flat", "v"], "h"), node("Relu", ["h"], "a"), node("MatMul", ["a", "w"], "y"),
        v=weight(120, 9), w=weight(9, 7),
    ),
    "two softmaxes": model(POOL, node("Softmax", ["pool"], "once", axis=1), node("Softmax", ["once"], "y", axis=1)),
    "a product of two features": model(POOL, SQUEEZE, node("Mul", ["vector", "vector"], "y")),
    "nothing behind a map": model(node("Relu", ["space"], "y")),
}  # fmt: skip


@pytest.mark.parametrize("name", LINEAR)
def test_the_places_and_the_bias_add_up_to_every_logit(name: str) -> None:
    found = LinearHead.of(LINEAR[name], "y")
    assert found
    assert found.layer == ("last" if "channels last" in name else "space")
    values = run(LINEAR[name], {"x": X}, [found.layer, found.logits])
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
    assert LinearHead.of(NOT_LINEAR[name], "y") is None


def test_each_place_counts_with_its_own_weights() -> None:
    found = LinearHead.of(LINEAR["flatten, then MatMul and Add"], "y")
    assert found
    features = np.zeros((5, 6, 4), np.float32)
    features[2, 3, 1] = 2.0
    parts = found.maps(features, 6)
    assert parts
    expected = np.zeros((6, 4))
    expected[3, 1] = 2.0 * weight(120, 7).reshape(5, 6, 4, 7)[2, 3, 1, 6]
    np.testing.assert_allclose(parts[0], expected, rtol=1e-6)


def test_features_of_another_size_than_the_weights_have_no_map() -> None:
    found = LinearHead.of(classic(), "dense2")
    assert found
    assert (found.layer, found.averaged) == ("pool", False)
    assert found.maps(np.ones((4, 5, 4)), 0) is None
    assert found.maps(np.ones(64), 0) is None


def test_an_output_that_the_graph_does_not_make_has_no_head() -> None:
    assert LinearHead.of(classic(), "x") is None
