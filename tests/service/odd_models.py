"""Small models of every kind that the tiny one is not: other types, several inputs, data that steer the graph."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Values = Mapping[str, tuple[int, Sequence[str | int]]]


def identity(kind: int, *, batch: str | int = "N") -> onnx.ModelProto:
    """[N, 2] `x` -> the same `y`, of any type."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return _model([node], {"x": (kind, [batch, 2])}, {"y": (kind, [batch, 2])})


def adding() -> onnx.ModelProto:
    """float32 [N, 2] `a` and int64 [N, 2] `b` -> their sum `sum`, and whether it is positive, `positive`."""
    nodes = [
        helper.make_node("Cast", ["b"], ["b.float"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["a", "b.float"], ["sum"]),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
    ]
    inputs: Values = {"a": (TensorProto.FLOAT, ["N", 2]), "b": (TensorProto.INT64, ["N", 2])}
    outputs: Values = {"sum": (TensorProto.FLOAT, ["N", 2]), "positive": (TensorProto.BOOL, ["N", 2])}
    return _model(nodes, inputs, outputs, zero=np.float32(0))


def picking() -> onnx.ModelProto:
    """int64 `index` of any length -> those of five numbers, `picked`; only 0 to 4 are there."""
    node = helper.make_node("Gather", ["numbers", "index"], ["picked"])
    table = np.arange(5, dtype=np.float32)
    return _model([node], {"index": (TensorProto.INT64, ["N"])}, {"picked": (TensorProto.FLOAT, ["N"])}, numbers=table)


def scaling() -> onnx.ModelProto:
    """float32 `x` [2, W] times a float32 scalar `by` -> `y`; it has no rows."""
    node = helper.make_node("Mul", ["x", "by"], ["y"])
    inputs: Values = {"x": (TensorProto.FLOAT, [2, "W"]), "by": (TensorProto.FLOAT, ())}
    return _model([node], inputs, {"y": (TensorProto.FLOAT, [2, "W"])})


def joining() -> onnx.ModelProto:
    """float32 `x` [1, A] and `y` [1, B], which must be equally long -> `sum`."""
    node = helper.make_node("Add", ["x", "y"], ["sum"])
    inputs: Values = {"x": (TensorProto.FLOAT, [1, "A"]), "y": (TensorProto.FLOAT, [1, "B"])}
    return _model([node], inputs, {"sum": (TensorProto.FLOAT, [1, "C"])})


def labelling() -> onnx.ModelProto:
    """float32 `x` [N, 3] -> the word for its largest number, string `label` [N], and `scores` [N, 3], as they came."""
    words = helper.make_node(
        "LabelEncoder", ["best"], ["label"], domain="ai.onnx.ml", keys_int64s=[0, 1, 2], values_strings=["a", "b", "c"]
    )
    nodes = [
        helper.make_node("ArgMax", ["x"], ["best"], axis=1, keepdims=0),
        words,
        helper.make_node("Identity", ["x"], ["scores"]),
    ]
    outputs: Values = {"label": (TensorProto.STRING, ["N"]), "scores": (TensorProto.FLOAT, ["N", 3])}
    model = _model(nodes, {"x": (TensorProto.FLOAT, ["N", 3])}, outputs)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return model


def _model(
    nodes: list[onnx.NodeProto], inputs: Values, outputs: Values, **weights: np.generic | np.ndarray[Any, Any]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "odd",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
