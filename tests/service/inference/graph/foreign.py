"""Models of operators that are not ONNX's own: onnxruntime's, functions in the file, and namesakes of standard ones."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.service.inference.small import Array, Lengths, build, weight

ONNXRUNTIME = "com.microsoft"
BLOCKED = "com.microsoft.nchwc"
OWN = "my"


def foreign(
    nodes: Iterable[onnx.NodeProto],
    weights: Mapping[str, Array],
    functions: Sequence[onnx.FunctionProto] = (),
    shape: Lengths = ("N", 2, 8, 8),
) -> onnx.ModelProto:
    """From float32 `x` to `y`; every domain is imported."""
    model = build(nodes, {"x": shape}, ["y"], weights, opset=17)
    model.opset_import.extend(helper.make_opsetid(domain, 1) for domain in (ONNXRUNTIME, BLOCKED, OWN))
    model.functions.extend(functions)
    return model


def function(name: str, inputs: Sequence[str], nodes: Sequence[onnx.NodeProto]) -> onnx.FunctionProto:
    """That yields `out`."""
    return helper.make_function(OWN, name, inputs, ["out"], nodes, [helper.make_opsetid("", 17)])


def quantised() -> onnx.ModelProto:
    """Two QLinearConv of a scale per channel, their sum, pooled, joined, and a dense layer: all in whole numbers."""
    scales: dict[str, Array] = {
        "s": np.array(0.1, np.float32), "z": np.array(3, np.uint8),
        "s3": np.full(3, 0.1, np.float32), "z3": np.zeros(3, np.int8),
    }  # fmt: skip
    kernels: dict[str, Array] = {
        "k": np.ones((3, 2, 3, 3), np.int8), "b": np.ones(3, np.int32), "l": np.ones((3, 3, 1, 1), np.int8),
        "w": np.ones((6, 5), np.uint8),
    }  # fmt: skip
    at = ["s", "z"]
    window: dict[str, Any] = {"strides": [2, 2], "pads": [1, 1, 1, 1], "dilations": [1, 1]}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *at], ["q"]),
        helper.make_node("QLinearConv", ["q", *at, "k", "s3", "z3", *at, "b"], ["wide"], **window),
        helper.make_node("QLinearConv", ["wide", *at, "l", "s3", "z3", *at], ["narrow"]),
        _microsoft("QLinearAdd", ["wide", *at, "narrow", *at, *at], "sum"),
        _microsoft("QLinearLeakyRelu", ["sum", *at, *at], "leaky", alpha=0.1),
        _microsoft("QLinearSigmoid", ["leaky", *at, *at], "soft"),
        _microsoft("QLinearAveragePool", ["soft", *at, *at], "pooled", kernel_shape=[2, 2], strides=[2, 2]),
        _microsoft("QLinearConcat", [*at, "pooled", *at, "pooled", *at], "both", axis=1),
        _microsoft("QLinearGlobalAveragePool", ["both", *at, *at], "mean"),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        _microsoft("QGemm", ["flat", *at, "w", *at, "", *at], "dense"),
        helper.make_node("DequantizeLinear", ["dense", *at], ["y"]),
    ]
    return foreign(nodes, scales | kernels)


def halving(channels: int = 4, extents: Sequence[int | str] = (8, 8)) -> onnx.ModelProto:
    """A convolution of the upper half of the channels, at whose first one it arrives by computing, as exporters do."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Shape", ["a"], ["lengths"]),
        helper.make_node("Gather", ["lengths", "one"], ["channels"], axis=0),
        helper.make_node("Add", ["channels", "one.flat"], ["more"]),
        helper.make_node("Div", ["more", "two"], ["half"]),
        helper.make_node("Mul", ["half", "two"], ["end"]),
        helper.make_node("Slice", ["a", "half", "end", "one.flat"], ["upper"]),
        helper.make_node("Conv", ["upper", "k"], ["y"]),
    ]
    numbers = {"one": np.array(1), "one.flat": np.array([1]), "two": np.array([2])}
    weights: dict[str, Array] = {"k": weight(3, channels // 2, 3, 3), **numbers}
    return build(nodes, {"x": ["N", channels, *extents]}, ["y"], weights)


def fused() -> onnx.ModelProto:
    """A FusedConv to which what came before is added, a Gelu, and a FusedGemm."""
    nodes = [
        _microsoft("FusedConv", ["x", "k", "b", "x"], "conv", activation="Relu", pads=[1] * 4, kernel_shape=[3, 3]),
        _microsoft("Gelu", ["conv"], "gelu"),
        helper.make_node("Flatten", ["gelu"], ["flat"]),
        _microsoft("FusedGemm", ["flat", "w"], "y", activation="Relu"),
    ]
    return foreign(nodes, {"k": weight(2, 2, 3, 3), "b": weight(2), "w": weight(128, 5)})


def detector() -> onnx.ModelProto:
    """NonMaxSuppression whose thresholds are vectors of one number."""
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["boxes"]),
        helper.make_node("Transpose", ["boxes"], ["scores.4"], perm=[0, 2, 1]),
        helper.make_node("Slice", ["scores.4", "zero", "most", "most"], ["scores"]),
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "iou", "least"], ["y"]),
    ]
    whole = {"zero": np.array([0]), "most": np.array([1])}
    bounds = {"iou": np.array([0.5], np.float32), "least": np.array([0.5], np.float32)}
    return build(nodes, {"x": [1, 6, 4]}, ["y"], {**whole, **bounds})


def branched() -> onnx.ModelProto:
    """A convolution inside an If."""
    bodies = {
        name: helper.make_graph(
            [helper.make_node("Conv", ["x", "k"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name in ("then", "else")
    }
    nodes = [
        helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["yes"], ["y"], then_branch=bodies["then"], else_branch=bodies["else"]),
    ]
    return foreign(nodes, {"k": weight(4, 2, 3, 3)})


def _microsoft(op: str, inputs: Sequence[str], output: str, **settings: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], domain=ONNXRUNTIME, **settings)
