from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from service.errors import ModelRejected
from service.inference.contract.card import Golden, ModelCard
from service.inference.serving.model import stack
from service.inference.serving.proof import prove, trial_rows
from tests.service.odd_models import labelling
from tests.service.tiny import tiny_card, tiny_onnx


def opened(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString())


def passing_on(kind: int, shape: list[int | str]) -> ort.InferenceSession:
    """A model that gives back what it gets."""
    values = [helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "passing", values[:1], values[1:])
    return opened(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10))


def card(**changes: Any) -> ModelCard:
    """The tiny model's card without golden inputs."""
    return ModelCard.model_validate({**tiny_card(tiny_onnx()).model_dump(), "golden": (), **changes})


def mixing() -> onnx.ModelProto:
    """Takes the mean of the whole batch off each row, so that company changes the answer."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axis"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mixing",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [0])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_a_model_that_is_right_alone_but_not_in_a_batch_is_served_one_by_one() -> None:
    model, doubt = prove(opened(mixing()), None)
    assert (model.batches, doubt) == (False, "it gives other answers to a batch than to each of its inputs")
    model, doubt = prove(opened(tiny_onnx()), None)
    assert (model.batches, doubt) == (True, None)


def choosing(what: str) -> onnx.ModelProto:
    """An If by whether the largest of `what` is above 0.001, which noise is alone and together."""
    bodies = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, ["x"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name, op in (("then", "Neg"), ("else", "Exp"))
    }
    nodes = [
        helper.make_node("ReduceMax", [what], ["peak"], keepdims=0),
        helper.make_node("Greater", ["peak", "least"], ["bright"]),
        helper.make_node("If", ["bright"], ["y"], **bodies),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", "y"))
    constants = [helper.make_tensor(name, TensorProto.FLOAT, [], [0.001]) for name in ("least", "own")]
    graph = helper.make_graph(nodes, "choosing", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_a_graph_that_chooses_by_values_is_served_one_by_one_whatever_noise_shows() -> None:
    model, doubt = prove(opened(choosing("x")), None, choosing("x"))
    assert not model.batches
    assert doubt is not None
    assert doubt.startswith("what is computed for 'y' is decided by an If or a Loop from the values given")
    assert prove(opened(choosing("own")), None, choosing("own"))[1] is None


def test_noise_is_dark_and_bright_too() -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["level"], keepdims=0),
        helper.make_node("Greater", ["level", "third"], ["bright"]),
        helper.make_node("Where", ["bright", "x", "third"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 400]) for name in ("x", "y"))
    graph = helper.make_graph(nodes, "lit", [x], [y], [helper.make_tensor("third", TensorProto.FLOAT, [], [1 / 3])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    assert prove(opened(model), None, model)[1] == "it gives other answers to a batch than to each of its inputs"


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (TensorProto.STRING, ["N", 3]),
        (TensorProto.FLOAT, ["N", 2**40]),
        (TensorProto.FLOAT, ["N", "width"]),
        (TensorProto.FLOAT, [2, 3]),
        (TensorProto.FLOAT, []),
        (TensorProto.BFLOAT16, ["N", 3]),
    ],
)
def test_a_model_without_a_card_is_served_whatever_it_takes(kind: int, shape: list[int | str]) -> None:
    model, doubt = prove(passing_on(kind, shape), None)
    assert not model.batches
    assert doubt


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.BOOL])
def test_numbers_of_every_kind_are_batched(kind: int) -> None:
    assert prove(passing_on(kind, ["N", 3]), None)[0].batches


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": ("a", "b")}, "its card says 2 floats"),
        ({"labels": ("a", "b", "c", "d")}, "its card says 4 floats"),
        ({"labels": ("no", "yes"), "task": "binary"}, "its card says 1 floats"),
        (
            {"input": tiny_card(tiny_onnx()).input.model_copy(update={"dtype": "float32"})},
            "does not take what its card",
        ),
        ({"input": tiny_card(tiny_onnx()).input.model_copy(update={"size": (9, 9)})}, "does not take what its card"),
    ],
)
def test_a_card_that_does_not_fit_its_graph_is_refused(change: dict[str, Any], reason: str) -> None:
    assert prove(opened(tiny_onnx()), card())[0].batches
    with pytest.raises(ModelRejected, match=reason):
        prove(opened(tiny_onnx()), card(**change))


def test_scores_that_are_no_floats_are_refused() -> None:
    model = tiny_onnx()
    model.graph.node.append(helper.make_node("Cast", ["probabilities"], ["whole"], to=TensorProto.INT64))
    model.graph.output.append(helper.make_tensor_value_info("whole", TensorProto.INT64, ["N", 3]))
    with pytest.raises(ModelRejected, match="its output is int64"):
        prove(opened(model), card(output={"name": "whole"}))


def with_outputs(*outputs: tuple[str, str, int, Sequence[int | str]]) -> onnx.ModelProto:
    """The tiny model, and an output more for each (operator on the scores, name, type, shape)."""
    model = tiny_onnx()
    for op, name, kind, shape in outputs:
        model.graph.node.append(helper.make_node(op, ["probabilities"], [name]))
        model.graph.output.append(helper.make_tensor_value_info(name, kind, shape))
    return model


def test_only_the_output_that_the_card_names_is_held_to_it() -> None:
    size = ("Size", "size", TensorProto.INT64, ())
    places = ("NonZero", "places", TensorProto.INT64, (2, "found"))
    weights = with_outputs()
    weights.graph.output.append(helper.make_tensor_value_info("kernel", TensorProto.FLOAT, [3, 3, 3, 3]))
    for model, name in ((with_outputs(size), "size"), (with_outputs(places), "places"), (weights, "kernel")):
        served, doubt = prove(opened(model), tiny_card(tiny_onnx()))
        assert not served.batches
        assert doubt is not None
        assert f"output {name!r}" in doubt
    with pytest.raises(ModelRejected, match=r"'size' has shape \(\) for one input"):
        prove(opened(with_outputs(size)), card(output={"name": "size"}))


def test_a_card_cannot_name_an_output_that_no_answer_can_hold() -> None:
    model = tiny_onnx()
    model.graph.node.append(helper.make_node("Cast", ["probabilities"], ["brief"], to=TensorProto.BFLOAT16))
    model.graph.output.append(helper.make_tensor_value_info("brief", TensorProto.BFLOAT16, ["N", 3]))
    assert prove(opened(model), tiny_card(tiny_onnx()))[0].batches
    with pytest.raises(ModelRejected, match="'brief' is of a type that no answer can hold"):
        prove(opened(model), card(output={"name": "brief"}))


def test_a_model_whose_output_is_text_is_batched() -> None:
    model, doubt = prove(opened(labelling()), None)
    assert (model.batches, doubt) == (True, None)
    rows = model.run([{"x": np.eye(3, dtype=np.float32)[index]} for index in (2, 0)])
    labels = stack(rows)["label"]
    assert labels.dtype == np.dtype(np.object_)
    assert labels.tolist() == ["c", "a"]


def test_a_fixed_batch_is_said_to_be_the_reason_and_cannot_have_a_card() -> None:
    for rows in (1, 2):
        model, doubt = prove(opened(tiny_onnx(batch=rows)), None)
        assert not model.batches
        assert doubt == (
            f"its inputs and outputs share no free first dimension: that of input 'pixels' is fixed at {rows}"
        )
    prove(opened(tiny_onnx(batch=1)), card())
    with pytest.raises(ModelRejected, match="its first dimension is fixed at 2, and a card is for one input at a time"):
        prove(opened(tiny_onnx(batch=2)), card())


def test_noise_for_a_fixed_batch_that_nobody_could_hold_is_not_made() -> None:
    assert trial_rows(passing_on(TensorProto.FLOAT, [2**20, 2**20]), None) == []


def test_a_model_that_scales_with_its_company_is_served_one_by_one() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["count"], end=1),
        helper.make_node("Cast", ["count"], ["rows"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "rows"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "counting", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    assert not prove(opened(model), None)[0].batches


@pytest.mark.parametrize(
    ("stated", "accepted"),
    [
        ((0.51, 0.49), True),
        ((0.48, 0.47), True),
        ((0.49, 0.51), False),
        ((0.5, 0.5005), True),
        ((0.5, 0.5015), False),
    ],
)
def test_within_a_wide_tolerance_the_class_must_still_be_the_same(stated: Sequence[float], accepted: bool) -> None:
    given = np.array([0.51, 0.49], np.float32)
    proved(given, stated, "none", accepted)


@pytest.mark.parametrize(
    ("given", "stated", "activation", "accepted"),
    [
        (0.48, 0.49, "none", True),
        (0.48, 0.52, "none", False),
        (0.52, 0.48, "none", False),
        (-0.02, -0.01, "sigmoid", True),
        (-0.02, 0.02, "sigmoid", False),
        (0.02, -0.02, "sigmoid", False),
    ],
)
def test_of_two_labels_the_same_must_win_by_its_only_score(
    given: float, stated: float, activation: str, accepted: bool
) -> None:
    proved(np.array([given], np.float32), [stated], activation, accepted)


def proved(given: NDArray[np.float32], stated: Sequence[float], activation: str, accepted: bool) -> None:
    """Prove a model that gives back what it gets, as an INT8 card does that states `stated` for `given`."""
    size = len(given)
    described = ModelCard.model_validate(
        {
            "task": "binary" if size == 1 else "multiclass",
            "labels": ("a", "b"),
            "input": {
                "name": "x",
                "kind": "tensor",
                "size": (),
                "channels": size,
                "layout": "NHWC",
                "dtype": "float32",
            },
            "output": {"name": "y", "activation": activation},
            "golden": [Golden.of(given, np.asarray(stated))],
            "tolerance": 0.05,
        }
    )
    session = passing_on(TensorProto.FLOAT, ["N", size])
    if accepted:
        assert prove(session, described)[0].batches
        return
    with pytest.raises(ModelRejected, match="golden input 0 is of another class than its card says"):
        prove(session, described)


def test_a_graph_without_inputs_is_served_as_it_is() -> None:
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph([helper.make_node("Exp", ["k"], ["y"])], "alone", [], [y])
    graph.initializer.append(helper.make_tensor("k", TensorProto.FLOAT, [1, 2], [0, 1]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    assert prove(opened(model), None, model)[1] == "it has no inputs"
