from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from service.inference.graph.layers import Graph
from tests.service.inference.graph.foreign import ONNXRUNTIME, OWN, branched, foreign, function
from tests.service.inference.small import Array, branching, build, weight


def whole(*shape: int) -> Array:
    return np.ones(shape, np.int8)


def scales() -> dict[str, Array]:
    return {"s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}


@pytest.mark.parametrize(
    ("op", "inputs", "shape", "weights", "settings", "macs"),
    [
        ("MatMulInteger", ["x", "w"], ["N", 7, 6], {"w": whole(6, 4)}, {}, 7 * 24),
        ("QLinearMatMul", ["x", "s", "z", "w", "s", "z", "s", "z"], ["N", 6], {"w": whole(6, 4)}, {}, 24),
        ("ConvInteger", ["x", "w"], ["N", 2, 8, 8], {"w": whole(3, 2, 3, 3)}, {}, 36 * 54),
        ("DeformConv", ["x", "w", "o"], ["N", 2, 8, 8], {"w": weight(3, 2, 3, 3), "o": weight(1)}, {}, None),
        ("LSTM", ["x", "w", "r"], [7, "N", 3], {"w": weight(1, 16, 3), "r": weight(1, 16, 4)}, {}, 7 * 112),
        ("GRU", ["x", "w", "r"], [7, "N", 3], {"w": weight(2, 12, 3), "r": weight(2, 12, 4)}, {}, 7 * 168),
        ("RNN", ["x", "w", "r"], ["N", 7, 3], {"w": weight(1, 4, 3), "r": weight(1, 4, 4)}, {"layout": 1}, 7 * 28),
        ("RNN", ["x", "w", "r"], ["t", "N", 3], {"w": weight(1, 4, 3), "r": weight(1, 4, 4)}, {}, None),
        ("Einsum", ["x", "w"], ["N", 6], {"w": weight(6, 4)}, {"equation": "ni,io->no"}, None),
    ],
)
def test_of_one_layer(
    op: str, inputs: list[str], shape: list[int | str], weights: dict[str, Array], settings: Any, macs: int | None
) -> None:
    if op in ("LSTM", "GRU", "RNN"):
        settings = {**settings, "hidden_size": 4, "direction": "bidirectional" if op == "GRU" else "forward"}
    node = helper.make_node(op, inputs, ["y"], **settings)
    graph = Graph.of(build([node], {"x": shape}, ["y"], {**scales(), **weights}))
    assert graph.layer("y").macs == graph.totals.macs == macs
    assert graph.uncounted == (() if macs else ("y",))


def test_sequences_that_are_cut_short_are_of_unknown_cost() -> None:
    lstm = helper.make_node("LSTM", ["x", "w", "r", "", "lengths"], ["y"], hidden_size=4)
    weights = {"w": weight(1, 16, 3), "r": weight(1, 16, 4)}
    graph = Graph.of(build([lstm], {"x": [7, "N", 3], "lengths": ["N"]}, ["y"], weights))
    assert graph.totals.macs is None


@pytest.mark.parametrize(
    ("op", "inputs", "macs"),
    [
        ("FusedGemm", ["x", "w"], 24),
        ("FusedMatMul", ["x", "w"], 24),
        ("QGemm", ["x", "s", "z", "w", "s", "z"], 24),
        ("MatMulIntegerToFloat", ["x", "w", "s", "s"], 24),
        ("MatMulNBits", ["x", "w"], None),  # its weights are packed
        ("FastGelu", ["x", "z"], 0),
    ],
)
def test_of_onnxruntimes_own_operators(op: str, inputs: list[str], macs: int | None) -> None:
    node = helper.make_node(op, inputs, ["y"], domain=ONNXRUNTIME)
    assert Graph.of(foreign([node], {"w": weight(6, 4), **scales()}, shape=["N", 6])).totals.macs == macs


def calling(body: list[onnx.NodeProto], *weights: str) -> onnx.ModelProto:
    inputs = ["v", *weights]
    node = helper.make_node("Block", ["x", *weights], ["y"], domain=OWN)
    return foreign([node], {name: weight(4, 2, 3, 3) for name in weights}, [function("Block", inputs, body)])


def test_a_function_with_a_convolution_is_of_unknown_cost() -> None:
    graph = Graph.of(calling([helper.make_node("Conv", ["v", "k"], ["out"])], "k"))
    assert (graph.layer("y").macs, graph.totals.macs, graph.uncounted) == (None, None, ("y",))


def test_a_function_with_a_matrix_of_its_own_is_of_unknown_cost() -> None:
    constant = helper.make_node("Constant", [], ["m"], value=numpy_helper.from_array(weight(8, 8)))
    assert Graph.of(calling([constant, helper.make_node("MatMul", ["v", "m"], ["out"])])).totals.macs is None


@pytest.mark.parametrize("body", [("Relu", ["v"]), ("MatMul", ["v", "v"])])
def test_a_function_without_products_with_weights_costs_nothing(body: tuple[str, list[str]]) -> None:
    op, inputs = body
    assert Graph.of(calling([helper.make_node(op, inputs, ["out"])])).totals.macs == 0


def test_a_branch_with_a_convolution_is_of_unknown_cost() -> None:
    graph = Graph.of(branched())
    assert (graph.totals.macs, graph.uncounted) == (None, ("y",))
    assert Graph.of(branching()).totals.macs == 0


@pytest.mark.parametrize(("weights", "macs"), [({"w": weight(6, 4)}, None), ({"w": np.float32(1)}, 0)])
def test_an_operator_that_nobody_knows_is_of_unknown_cost_if_it_holds_weights(
    weights: dict[str, Array], macs: int | None
) -> None:
    node = helper.make_node("Strange", ["x", "w"], ["y"], domain=OWN)
    assert Graph.of(foreign([node], weights)).totals.macs == macs


def test_an_operator_that_keeps_its_weights_in_attributes_is_of_unknown_cost() -> None:
    node = helper.make_node("LinearClassifier", ["x"], ["y", "p"], domain="ai.onnx.ml", coefficients=[1.0, 2.0])
    assert Graph.of(foreign([node], {}, shape=["N", 2])).totals.macs is None


def test_weights_made_of_weights_cost_nothing() -> None:
    unpacking = helper.make_node("Unpack", ["w"], ["k"], domain=OWN)
    graph = Graph.of(foreign([unpacking, helper.make_node("Conv", ["x", "k"], ["y"])], {"w": weight(4, 2, 3, 3)}))
    assert graph.uncounted == ("y",)


def test_rows_that_are_a_multiple_of_the_batch_are_counted_for_one_input() -> None:
    nodes = [helper.make_node("Reshape", ["x", "rows"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["y"])]
    graph = Graph.of(build(nodes, {"x": ["N", 4, 2]}, ["y"], {"rows": np.array([-1, 2]), "w": weight(2, 5)}))
    assert (graph.layer("y").shape, graph.totals.macs) == ((None, 5), 4 * 10)
