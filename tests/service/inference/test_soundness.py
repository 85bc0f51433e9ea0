import pytest
from onnx import helper

from service.errors import ModelRejected
from service.inference.soundness import check_sound
from tests.service.inference.small import branching, build, classic


def test_ordinary_models_pass() -> None:
    check_sound(classic())
    check_sound(branching())


def test_an_opset_of_another_domain_may_be_as_old_as_it_likes() -> None:
    model = classic()
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    check_sound(model)


@pytest.mark.parametrize(("opset", "sound"), [(6, False), (7, True)])
def test_opsets_before_seven_are_refused(opset: int, sound: bool) -> None:
    model = build([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", 3]}, ["y"], opset=opset)
    if sound:
        return check_sound(model)
    with pytest.raises(ModelRejected, match="opset 6"):
        check_sound(model)
    return None


def test_a_nameless_part_is_found_inside_a_function() -> None:
    model = classic()
    inside = [helper.make_node("Split", ["v"], ["out", ""], num_outputs=2)]
    model.functions.append(helper.make_function("mine", "Half", ["v"], ["out"], inside, [helper.make_opsetid("", 18)]))
    with pytest.raises(ModelRejected, match="Split of 'v'"):
        check_sound(model)
