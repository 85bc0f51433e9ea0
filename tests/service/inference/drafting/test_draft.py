from typing import Any

import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from service.inference.drafting.draft import Draft, draft
from service.inference.graph.layers import Graph
from tests.service.foreign import foreign_onnx
from tests.service.tiny import tiny_onnx


def drafted(model: onnx.ModelProto, **told: Any) -> Draft:
    return draft(ort.InferenceSession(model.SerializeToString()), Graph.of(model), **told)


def single(shape: list[int | str], op: str = "Identity") -> onnx.ModelProto:
    """One node over an input of `shape`, pooled to a score per channel."""
    nodes = [
        helper.make_node("GlobalMaxPool", ["x"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node(op, ["flat"], ["y"]),
    ]
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    ]
    graph = helper.make_graph(nodes, "single", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize(("layout", "shape"), [("NCHW", (3, 8, 8)), ("NHWC", (8, 8, 3))])
def test_layout_size_and_activation_are_guessed(layout: str, shape: tuple[int, ...]) -> None:
    found = drafted(foreign_onnx(layout=layout))
    assert found.card is not None
    assert (found.card.input.layout, found.card.input.shape, found.card.output.activation) == (layout, shape, "softmax")
    assert found.card.labels == ("class 0", "class 1", "class 2")
    assert not found.missing
    assert any("--folder" in guess for guess in found.guessed)
    assert any("--labels" in guess for guess in found.guessed)


def test_probabilities_need_no_activation() -> None:
    card = drafted(foreign_onnx(softmax=True)).card
    assert card is not None
    assert card.output.activation == "none"


def test_pixels_as_they_are_need_no_scale() -> None:
    card = drafted(tiny_onnx(), labels=["red", "green", "blue"]).card
    assert card is not None
    assert (card.input.dtype, card.input.scale, card.labels) == ("uint8", 1.0, ("red", "green", "blue"))


def test_free_extents_are_asked_for_and_taken() -> None:
    model = foreign_onnx(size=("height", "width"))
    [missing] = drafted(model).missing
    assert "--size" in missing
    card = drafted(model, size=(8, 8)).card
    assert card is not None
    assert card.input.size == (8, 8)


def test_an_output_that_numpy_cannot_hold_is_passed_over() -> None:
    model = foreign_onnx()
    model.graph.node.append(helper.make_node("Cast", ["logits"], ["brief"], to=TensorProto.BFLOAT16))
    model.graph.output.insert(0, helper.make_tensor_value_info("brief", TensorProto.BFLOAT16, ["N", 3]))
    card = drafted(model).card
    assert card is not None
    assert card.output.name == "logits"


@pytest.mark.parametrize(("op", "activation"), [("Sigmoid", "none"), ("Identity", "sigmoid")])
def test_one_score_is_yes_or_no(op: str, activation: str) -> None:
    card = drafted(single(["N", 1, 4, 4], op)).card
    assert card is not None
    assert (card.task, card.labels, card.output.activation) == ("binary", ("no", "yes"), activation)


@pytest.mark.parametrize(("shape", "kind"), [(["N", 3, 9], "signal"), (["N", 1, 4, 5, 6], "volume")])
def test_signals_and_volumes_are_known_by_their_rank(shape: list[int | str], kind: str) -> None:
    card = drafted(single(shape)).card
    assert card is not None
    assert card.input.kind == kind


@pytest.mark.parametrize(
    ("model", "told", "reason"),
    [
        (single(["N", 7, 4, 4]), {}, "one channel or three"),
        (single(["N", 3, 70_000, 70_000]), {}, "too large to try"),
        (foreign_onnx(batch=2), {}, "its first dimension is fixed at 2"),
        (foreign_onnx(), {"labels": ["a", "b"]}, "2 labels"),
        (foreign_onnx(), {"size": (8, 8, 8)}, "--size"),
        (foreign_onnx(), {"size": (9, 9)}, "does not take an input"),
    ],
)
def test_what_cannot_be_guessed_is_said(model: onnx.ModelProto, told: dict[str, Any], reason: str) -> None:
    found = drafted(model, **told)
    assert found.card is None
    assert reason in found.missing[0]
