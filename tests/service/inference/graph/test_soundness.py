import pytest
from onnx import helper

from service.errors import ModelRejected
from service.inference.graph.soundness import age_explained, check_sound
from tests.service.inference.small import branching, build, classic


def test_ordinary_models_pass() -> None:
    check_sound(classic())
    check_sound(branching())


def test_an_opset_of_another_domain_may_be_as_old_as_it_likes() -> None:
    model = classic()
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    check_sound(model)


@pytest.mark.parametrize(("opset", "expected"), [(6, ModelRejected), (7, ZeroDivisionError)])
def test_a_failure_is_put_down_to_the_models_age_where_it_is_old(opset: int, expected: type[Exception]) -> None:
    model = build([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", 3]}, ["y"], opset=opset)
    with pytest.raises(expected, match="no such operator"), age_explained(model):
        raise ZeroDivisionError("no such operator")


def test_an_old_model_that_runs_is_sound() -> None:
    model = build([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", 3]}, ["y"], opset=6)
    with age_explained(model):
        check_sound(model)


def test_a_nameless_part_is_found_inside_a_function() -> None:
    model = classic()
    inside = [helper.make_node("Split", ["v"], ["out", ""], num_outputs=2)]
    model.functions.append(helper.make_function("mine", "Half", ["v"], ["out"], inside, [helper.make_opsetid("", 18)]))
    with pytest.raises(ModelRejected, match="Split of 'v'"):
        check_sound(model)
