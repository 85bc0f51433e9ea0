"""Small true ONNX models, built without torch, and what onnxruntime makes of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
Lengths = Sequence[int | str | None]


def weight(*shape: int) -> NDArray[np.float32]:
    """Numbers without a pattern, the same each time."""
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def build(
    nodes: Iterable[onnx.NodeProto],
    inputs: Mapping[str, Lengths],
    outputs: Iterable[str],
    weights: Mapping[str, Array] | None = None,
    opset: int = 18,
    ir_version: int = 10,
) -> onnx.ModelProto:
    """A model of float32 inputs; its outputs are declared by name alone."""
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def classic(batch: int | str | None = "batch") -> onnx.ModelProto:
    """Two convolutions with a residual sum between, pooling, flatten, two dense layers: 1x8x8 in, 5 scores out."""
    return build(
        [
            helper.make_node("Conv", ["x", "k1", "b1"], ["conv1"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["conv1"], ["relu1"]),
            helper.make_node("Conv", ["relu1", "k2"], ["conv2"], pads=[1, 1, 1, 1], group=2),
            helper.make_node("Add", ["conv2", "relu1"], ["sum"]),
            helper.make_node("MaxPool", ["sum"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Flatten", ["pool"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w1", "c1"], ["dense1"], transB=1),
            helper.make_node("MatMul", ["dense1", "w2"], ["dense2"]),
        ],
        {"x": [batch, 1, 8, 8]},
        ["dense2"],
        {
            "k1": weight(4, 1, 3, 3),
            "b1": weight(4),
            "k2": weight(4, 2, 3, 3),
            "w1": weight(10, 64),
            "c1": weight(10),
            "w2": weight(10, 5),
        },
    )


def branching() -> onnx.ModelProto:
    """An If whose bodies take `left`, `right` and the weight `w` from around them, and hold a weight of their own."""
    bodies = {
        name: helper.make_graph(
            [
                helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(weight(3))),
                helper.make_node("Mul", [captured, "w"], ["product"]),
                helper.make_node("Add", ["product", "c"], [f"{name}.out"]),
            ],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}.out", TensorProto.FLOAT, None)],
        )
        for name, captured in (("then", "left"), ("else", "right"))
    }
    return build(
        [
            helper.make_node("Relu", ["x"], ["left"]),
            helper.make_node("Neg", ["x"], ["right"]),
            helper.make_node("Exp", ["x"], ["aside"]),
            helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
            helper.make_node("Greater", ["total", "zero"], ["positive"]),
            helper.make_node("If", ["positive"], ["chosen"], then_branch=bodies["then"], else_branch=bodies["else"]),
            helper.make_node("Relu", ["chosen"], ["y"]),
        ],
        {"x": ["N", 3]},
        ["y", "aside"],
        {"w": weight(3), "zero": np.zeros((), np.float32)},
    )


def open_session(model: bytes, level: Any = ort.GraphOptimizationLevel.ORT_ENABLE_ALL) -> ort.InferenceSession:
    """As fast as onnxruntime makes it, unless `level` says otherwise."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = level
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto, feeds: Mapping[str, Array], names: Iterable[str] = ()) -> dict[str, Array]:
    """Values of `names`, or of all outputs, by the whole model without optimisations."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    if names := list(names):
        del whole.graph.output[:]
        whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = open_session(whole.SerializeToString(), ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    names = [output.name for output in session.get_outputs()]
    needed = {value.name for value in session.get_inputs()}
    found = session.run(names, {name: value for name, value in feeds.items() if name in needed})
    return dict(zip(names, found, strict=True))


def assert_close(actual: Array, expected: Array) -> None:
    """Within 1e-4 of the largest magnitude."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * float(np.abs(expected).max(initial=0)))
