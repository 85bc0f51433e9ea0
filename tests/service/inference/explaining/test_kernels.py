"""Against onnxruntime itself: each kernel that it runs has the layers that it computes, and each layer has a kernel."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from service.inference.explaining.kernels import Kernel
from service.inference.explaining.profile import _opened, layer_times, named_after_layers
from service.inference.graph.layers import Graph
from tests.service.inference.small import Array, build, open_session, weight

Rows = dict[str | None, Kernel]


def rows(model: onnx.ModelProto, feed: dict[str, Array], folder: Path) -> Rows:
    """What a profile of `model` lists, by layer."""
    shown = frozenset(row.name for row in Graph.of(model).layers)
    folder.mkdir()
    copy, kernels = _opened(open_session(model.SerializeToString()), named_after_layers(model), shown, folder)
    assert (folder / "graph.onnx").stat().st_size < 20_000  # the weights are not in it
    copy.run(None, feed)
    events = json.loads(Path(copy.end_profiling()).read_bytes())
    found = layer_times(events, kernels, 1)
    listed = Counter(name for row in found for name in ((row.layer,) if row.layer else ()) + row.fused)
    assert shown <= set(listed)  # what is computed of constants at every run has a kernel, too
    assert set(listed.values()) == {1}
    return {row.layer: Kernel(row.op, row.fused) for row in found}


def convolutions() -> onnx.ModelProto:
    """Convolutions with what is fused into them: normalisation, activations, a sum; in blocks of channels (NCHWc)."""
    node = helper.make_node
    return build(
        [
            node("Conv", ["x", "k"], ["conv"], pads=[1, 1, 1, 1]),
            node("BatchNormalization", ["conv", "s", "s", "s", "s"], ["norm"]),
            node("Relu", ["norm"], ["relu"]),
            node("Conv", ["relu", "k2"], ["conv2"], pads=[1, 1, 1, 1]),
            node("Add", ["conv2", "relu"], ["sum"]),
            node("Relu", ["sum"], ["relu2"]),
            node("MaxPool", ["relu2"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
            node("HardSwish", ["pool"], ["swish"]),
            node("GlobalAveragePool", ["swish"], ["mean"]),
            node("Flatten", ["mean"], ["flat"]),
            node("MatMul", ["flat", "w"], ["product"]),
            node("Add", ["product", "b"], ["scores"]),
            node("Identity", ["scores"], ["same"]),
            node("Softmax", ["same"], ["y"]),
        ],
        {"x": ["N", 3, 16, 16]},
        ["y"],
        {
            "k": weight(16, 3, 3, 3), "k2": weight(16, 16, 3, 3), "s": np.abs(weight(16)) + 1,
            "w": weight(16, 4), "b": weight(4),
        },
    )  # fmt: skip


X = {"x": np.abs(weight(2, 3, 16, 16))}


def test_what_is_fused_into_a_convolution_is_told_with_it(tmp_path: Path) -> None:
    found = rows(convolutions(), X, tmp_path / "plain")
    assert found["relu"] == Kernel("Conv", ("conv", "norm"))
    assert set(found["relu2"].fused) == {"conv2", "sum"}
    assert found["scores"] == Kernel("Gemm", ("product",))


class _Noise(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self._left = [X] * 2

    def get_next(self) -> dict[str, Array] | None:
        return self._left.pop() if self._left else None


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_a_quantised_model_has_a_row_for_each_convolution(tmp_path: Path, form: QuantFormat) -> None:
    onnx.save(convolutions(), tmp_path / "float.onnx")
    quantize_static(tmp_path / "float.onnx", tmp_path / "int8.onnx", _Noise(), quant_format=form)
    found = rows(onnx.load(tmp_path / "int8.onnx"), X, tmp_path / "quantised")
    # In QDQ form the normalisation keeps the first one from being quantised.
    quantised = [layer for layer, kernel in found.items() if kernel.layer == "QLinearConv"]
    assert len(quantised) == (1 if form == QuantFormat.QDQ else 2)
    assert None not in quantised
    assert None not in found or found[None].layer in ("Transpose", "ReorderOutput")


def test_a_gelu_that_becomes_one_kernel_is_one_row(tmp_path: Path) -> None:
    node = helper.make_node
    model = build(
        [
            node("MatMul", ["x", "w"], ["product"]),
            node("Add", ["product", "b"], ["biased"]),
            node("Div", ["biased", "root"], ["divided"]),
            node("Erf", ["divided"], ["erf"]),
            node("Add", ["erf", "one"], ["above"]),
            node("Mul", ["biased", "above"], ["twice"]),
            node("Mul", ["twice", "half"], ["gelu"]),
            node("Sigmoid", ["gelu"], ["gate"]),
            node("Mul", ["gelu", "gate"], ["y"]),
        ],
        {"x": ["N", 3, 8]},
        ["y"],
        {
            "w": weight(8, 8), "b": weight(8), "root": np.array(2**0.5, np.float32), "one": np.array(1, np.float32),
            "half": np.array(0.5, np.float32),
        },
    )  # fmt: skip
    found = rows(model, {"x": weight(2, 3, 8)}, tmp_path / "gelu")
    assert found["product"] == Kernel("MatMul", ())
    assert found["gelu"].layer == "BiasGelu"
    assert set(found["gelu"].fused) == {"biased", "divided", "erf", "above", "twice"}
    assert found["y"] == Kernel("QuickGelu", ("gate",))


def test_a_normalisation_that_becomes_a_convolution_is_itself(tmp_path: Path) -> None:
    node = helper.make_node
    model = build(
        [
            node("Conv", ["x", "k"], ["a_bn"], pads=[1, 1, 1, 1]),
            node("BatchNormalization", ["a_bn", "s", "s", "s", "s"], ["bn"]),  # which the next keeps from being folded
            node("Relu", ["a_bn"], ["relu"]),
            node("Conv", ["relu", "k2"], ["a"], pads=[1, 1, 1, 1]),
        ],
        {"x": ["N", 3, 16, 16]},
        ["a", "bn"],
        {"k": weight(16, 3, 3, 3), "k2": weight(16, 16, 3, 3), "s": np.abs(weight(16)) + 1},
    )
    found = rows(model, {"x": weight(1, 3, 16, 16)}, tmp_path / "norm")
    assert {name: kernel.fused for name, kernel in found.items() if name} == {"a_bn": (), "bn": (), "relu": (), "a": ()}


def test_what_is_computed_twice_is_in_the_row_of_the_one_kernel(tmp_path: Path) -> None:
    node = helper.make_node
    model = build(
        [
            node("Exp", ["x"], ["one"]),
            node("Sin", ["one"], ["first"]),
            node("Exp", ["x"], ["two"]),
            node("Sin", ["two"], ["second"]),
            node("Cast", ["x"], ["long"], to=7),
            node("Cast", ["x"], ["double"], to=11),
            node("Add", ["first", "second"], ["y"]),
        ],
        {"x": ["N", 3]},
        ["y", "long", "double"],
    )
    found = rows(model, {"x": weight(2, 3)}, tmp_path / "twice")
    computed = {frozenset(filter(None, (name, *kernel.fused))) for name, kernel in found.items()}
    assert computed == set(map(frozenset, (["one", "two"], ["first", "second"], ["long"], ["double"], ["y"])))
