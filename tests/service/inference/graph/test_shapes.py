import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.inference.graph.shapes import Shape, infer_shapes
from tests.service.inference.small import Lengths, branching, build, classic, weight


def reshaping(lengths: list[int], batch: int | str | None = "batch") -> onnx.ModelProto:
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Reshape", ["a", "target"], ["y"])]
    return build(nodes, {"x": [batch, 4, 2]}, ["y"], {"target": np.array(lengths)})


@pytest.mark.parametrize("batch", ["batch", "N", "x", None, -1])
def test_free_first_dimension_is_the_batch_whatever_its_name(batch: int | str | None) -> None:
    shapes = infer_shapes(classic(batch))
    assert shapes["x"] == ("N", 1, 8, 8)
    assert shapes["conv1"] == ("N", 4, 8, 8)
    assert shapes["flat"] == ("N", 64)
    assert shapes["k1"] == (4, 1, 3, 3)


def test_fixed_batch_is_a_number() -> None:
    assert infer_shapes(classic(3))["pool"] == (3, 4, 4, 4)


@pytest.mark.parametrize(
    ("target", "shape"),
    [
        ([-1, 8], ("N", 8)),
        ([0, -1], ("N", 8)),
        ([8, -1], (8, "N")),
        ([-1, 2], (None, 2)),  # four rows for each input
        ([1, 8], (1, 8)),  # only one input at a time can be had
    ],
)
def test_batch_is_found_behind_a_reshape(target: list[int], shape: Shape) -> None:
    assert infer_shapes(reshaping(target))["y"] == shape


def test_batch_is_followed_to_another_axis_and_by_its_symbol_to_other_inputs() -> None:
    add = helper.make_node("Add", ["turned", "b"], ["y"])
    model = build(
        [helper.make_node("Transpose", ["a"], ["turned"], perm=[1, 0]), add],
        {"a": ["n", 4], "b": [4, "n"], "free": [2, "m"]},
        ["y"],
    )
    shapes = infer_shapes(model)
    assert (shapes["turned"], shapes["y"], shapes["b"], shapes["free"]) == ((4, "N"), (4, "N"), (4, "N"), (2, None))


@pytest.mark.parametrize("lengths", [["batch", 3, "h", "w"], [None, 3, None, None], [-1, 3, -1, -1]])
def test_free_height_and_width_are_unknown(lengths: Lengths) -> None:
    nodes = [helper.make_node("Conv", ["x", "k"], ["y"]), helper.make_node("Relu", ["x"], ["z"])]
    shapes = infer_shapes(build(nodes, {"x": lengths}, ["y", "z"], {"k": weight(2, 3, 3, 3)}))
    assert shapes["y"] == ("N", 2, None, None)
    assert shapes["x"] == shapes["z"] == ("N", 3, None, None)


def test_wrong_declarations_are_overruled() -> None:
    model = classic()
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("dense2", TensorProto.FLOAT, [7, 7]))
    model.graph.value_info.append(helper.make_tensor_value_info("pool", TensorProto.FLOAT, [7, 7]))
    shapes = infer_shapes(model)
    assert (shapes["pool"], shapes["dense2"]) == (("N", 4, 4, 4), ("N", 5))


def test_declaration_serves_where_inference_knows_nothing() -> None:
    strange = helper.make_node("Strange", ["x"], ["y"], domain="nobody.knows")
    model = build([strange, helper.make_node("Other", ["y"], ["z"], domain="nobody.knows")], {"x": ["b", 3]}, [])
    model.opset_import.append(helper.make_opsetid("nobody.knows", 1))
    model.graph.value_info.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", "h", 5]))
    shapes = infer_shapes(model)
    assert shapes["y"] == ("N", None, 5)
    assert "z" not in shapes


def test_large_weights_are_not_needed_to_know_their_shapes() -> None:
    """As with external data, the bytes may be elsewhere."""
    model = build([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 64]}, ["y"], {"w": weight(64, 32)})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    assert infer_shapes(model)["y"] == ("N", 32)


def test_value_that_lies_in_another_file_leaves_a_shape_unknown_and_no_other() -> None:
    model = reshaping([-1, 8])
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    shapes = infer_shapes(model)
    assert (shapes["a"], shapes["y"]) == (("N", 4, 2), (None, None))


def test_what_can_only_be_had_for_one_input_has_its_shape_for_one() -> None:
    joined = helper.make_node("Concat", ["x", "c"], ["y"], axis=1)
    assert infer_shapes(build([joined], {"x": ["N", 3]}, ["y"], {"c": weight(1, 2)}))["y"] == (1, 5)


def test_initialiser_listed_as_input_keeps_its_value() -> None:
    model = reshaping([-1, 8])
    model.graph.input.append(helper.make_tensor_value_info("target", TensorProto.INT64, [2]))
    model.ir_version = 3
    assert infer_shapes(model)["y"] == ("N", 8)


def test_shape_computed_in_the_graph_is_followed() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["lengths"], start=0, end=1),
        helper.make_node("Constant", [], ["rest"], value=numpy_helper.from_array(np.array([-1]))),
        helper.make_node("Concat", ["lengths", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    assert infer_shapes(build(nodes, {"x": ["N", 3, 5]}, ["y"]))["y"] == ("N", 15)


def test_what_branches_yield_is_known_where_they_agree() -> None:
    assert infer_shapes(branching())["chosen"] == ("N", 3)


def test_original_stays_as_it_is() -> None:
    model = classic()
    before = model.SerializeToString(deterministic=True)
    infer_shapes(model)
    assert model.SerializeToString(deterministic=True) == before


def test_inputs_may_name_the_batch_each_in_its_own_way() -> None:
    add = helper.make_node("Add", ["a", "b"], ["y"])
    assert infer_shapes(build([add], {"a": ["batch", 3], "b": ["other", 3]}, ["y"]))["y"] == ("N", 3)


def test_a_symbol_is_no_batch_where_the_batch_comes_later() -> None:
    shapes = infer_shapes(build([], {"a": ["n", 3], "state": ["steps", "n", 3], "more": ["steps", 3]}, []))
    assert (shapes["state"], shapes["more"]) == ((None, "N", 3), (None, 3))


def test_a_declaration_serves_what_comes_after_it_too() -> None:
    nodes = [helper.make_node("Strange", ["x"], ["a"], domain="nobody.knows"), helper.make_node("Relu", ["a"], ["y"])]
    model = build(nodes, {"x": ["b", 3]}, ["y"])
    model.opset_import.append(helper.make_opsetid("nobody.knows", 1))
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, ["b", "h", 5]))
    assert infer_shapes(model)["y"] == ("N", None, 5)
