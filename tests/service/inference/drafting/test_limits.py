import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from service.inference.drafting.limits import free_extents, inside, unanswerable
from tests.service.foreign import foreign_onnx
from tests.service.odd_models import identity, labelling


def test_text_and_numbers_can_be_answered_with() -> None:
    assert unanswerable(foreign_onnx()) == unanswerable(labelling()) == {}


def test_sequences_optionals_and_strange_numbers_cannot() -> None:
    model = foreign_onnx()
    model.opset_import.append(helper.make_opsetid("nobody.knows", 1))
    model.graph.node.extend(
        [
            helper.make_node("SplitToSequence", ["pool"], ["pieces"]),
            helper.make_node("Optional", ["pool"], ["perhaps"]),
            helper.make_node("Cast", ["pool"], ["brief"], to=TensorProto.BFLOAT16),
            helper.make_node("Cast", ["brief"], ["back"], to=TensorProto.FLOAT),
            helper.make_node("Nobody", ["brief"], ["unknown"], domain="nobody.knows"),
        ]
    )
    assert unanswerable(model) == {"pieces": "sequence", "perhaps": "optional", "brief": "bfloat16"}


def test_what_bodies_and_functions_carry_is_counted_to_the_bottom() -> None:
    model = identity(TensorProto.FLOAT)
    innermost = helper.make_graph([helper.make_node("Neg", ["x"], ["a"])], "innermost", [], [])
    middle = helper.make_graph([helper.make_node("Loop", [], ["b"], body=innermost)], "middle", [], [])
    opset = helper.make_opsetid("", 18)
    steps = [helper.make_node("Neg", ["i"], ["j"]), helper.make_node("Abs", ["j"], ["o"])]
    model.functions.append(helper.make_function("own", "Block", ["i"], ["o"], steps, [opset]))
    model.graph.node.extend(
        [
            helper.make_node("If", ["c"], ["d"], then_branch=middle, else_branch=innermost),
            helper.make_node("Block", ["x"], ["e"], domain="own"),
            helper.make_node("Block", ["e"], ["f"], domain="own"),
        ]
    )
    assert inside(model) == {"If": 3, "Block": 4}
    assert inside(foreign_onnx()) == {}


def test_free_extents_go_by_axis_and_name() -> None:
    values = ort.InferenceSession(foreign_onnx(size=("height", 8)).SerializeToString()).get_inputs()
    assert free_extents(values, batch=True) == ["axis 0 of x (N)", "axis 2 of x (height)"]
    assert free_extents(values, batch=False) == ["axis 2 of x (height)"]
    assert free_extents([onnx_value("y", [None, 3])], batch=True) == ["axis 0 of y"]


def onnx_value(name: str, shape: list[int | None]) -> ort.NodeArg:
    values = [helper.make_tensor_value_info(each, TensorProto.FLOAT, shape) for each in (name, "z")]
    graph = helper.make_graph([helper.make_node("Neg", [name], ["z"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return ort.InferenceSession(onnx.ModelProto.SerializeToString(model)).get_inputs()[0]
