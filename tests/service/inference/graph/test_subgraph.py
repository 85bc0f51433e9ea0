import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from service.errors import UnknownName
from service.inference.graph.subgraph import producers, subgraph
from tests.service.inference.small import Array, assert_close, branching, build, classic, run, weight

X = weight(2, 3)
SIGNED = [X, X - 10, X + 10]


def nodes(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_every_layer_has_the_value_that_it_has_in_the_whole_model() -> None:
    model = classic()
    feeds = {"x": weight(3, 1, 8, 8)}
    expected = run(model, feeds, producers(model.graph))
    for layer, value in expected.items():
        assert_close(run(subgraph(model, [layer]), feeds)[layer], value)


def test_part_holds_only_what_leads_to_the_layers() -> None:
    part = subgraph(classic(), ["relu1"])
    assert nodes(part) == ["Conv", "Relu"]
    assert {tensor.name for tensor in part.graph.initializer} == {"k1", "b1"}
    assert [value.name for value in part.graph.output] == ["relu1"]


def test_layers_come_in_the_order_asked_for_and_once() -> None:
    part = subgraph(classic(), ["pool", "conv1", "pool"])
    assert [value.name for value in part.graph.output] == ["pool", "conv1"]


def test_original_stays_as_it_is() -> None:
    model = branching()
    before = model.SerializeToString(deterministic=True)
    part = subgraph(model, ["y", "left"])
    part.graph.node[0].op_type = "Abs"
    assert model.SerializeToString(deterministic=True) == before


def test_an_output_of_the_whole_model_is_a_layer_too() -> None:
    model = classic()
    feeds = {"x": weight(1, 1, 8, 8)}
    assert_close(run(subgraph(model, ["dense2"]), feeds)["dense2"], run(model, feeds)["dense2"])


@pytest.mark.parametrize("ir_version", [3, 10])
def test_an_output_that_no_node_yields_is_had_as_well(ir_version: int) -> None:
    model = classic()
    model.ir_version = ir_version
    k1 = helper.make_tensor_value_info("k1", TensorProto.FLOAT, [4, 1, 3, 3])
    if ir_version < 4:
        model.graph.input.extend(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            for tensor in model.graph.initializer
        )
    model.graph.output.extend([k1, model.graph.input[0]])
    feeds = {"x": weight(2, 1, 8, 8)}
    for asked in (["k1"], ["k1", "relu1"], ["x", "k1", "dense2"], ["x"]):
        found = run(subgraph(model, asked), feeds if asked != ["k1"] else {})
        assert list(found) == asked
        for name in asked:
            expected = feeds["x"] if name == "x" else run(model, feeds, [name])[name]
            assert_close(found[name], expected)


@pytest.mark.parametrize("name", ["dense3", "x", "k1", ""])
def test_unknown_layer_is_refused_with_the_nearest_names(name: str) -> None:
    with pytest.raises(UnknownName, match=r"unknown layer .*; the nearest are: "):
        subgraph(classic(), ["conv1", name])


def test_unknown_layer_names_its_neighbours() -> None:
    with pytest.raises(UnknownName) as refusal:
        subgraph(classic(), ["dense3"])
    assert set(refusal.value.nearest[:2]) == {"dense1", "dense2"}


@pytest.mark.parametrize("x", SIGNED)
def test_what_a_branch_captures_comes_along(x: Array) -> None:
    model = branching()
    part = subgraph(model, ["chosen"])
    assert nodes(part) == ["Relu", "Neg", "ReduceSum", "Greater", "If"]
    assert_close(run(part, {"x": x})["chosen"], run(model, {"x": x}, ["chosen"])["chosen"])


def test_a_branch_within_a_branch_captures_from_the_outermost_graph() -> None:
    def leaf(name: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{name}.out", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node("Add", ["deep", "deep"], [f"{name}.out"])], name, [], [out])

    def choice(name: str) -> onnx.GraphProto:
        inner = helper.make_node("If", ["yes"], [f"{name}.out"], then_branch=leaf(f"{name}.a"), else_branch=leaf("b"))
        out = helper.make_tensor_value_info(f"{name}.out", TensorProto.FLOAT, None)
        return helper.make_graph([inner], name, [], [out])

    model = build(
        [
            helper.make_node("Neg", ["x"], ["deep"]),
            helper.make_node("If", ["yes"], ["y"], then_branch=choice("t"), else_branch=choice("e")),
        ],
        {"x": ["N", 3]},
        ["y"],
        {"yes": np.array(True)},
    )
    assert_close(run(subgraph(model, ["y"]), {"x": X})["y"], -2 * X)


@pytest.mark.parametrize("state", ["state", "aside", "late"])
def test_names_of_a_body_that_are_its_own_pull_nothing_in(state: str) -> None:
    """Only `step` comes from around the Loop's body, even where another tensor bears the name of an input of it."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["again"], ["again.out"]),
            helper.make_node("Add", [state, "step"], ["state.out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info(state, TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("again.out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state.out", TensorProto.FLOAT, None),
        ],
    )
    model = build(
        [
            helper.make_node("Neg", ["x"], ["step"]),
            helper.make_node("Exp", ["x"], ["aside"]),
            helper.make_node("Loop", ["rounds", "", "x"], ["y"], body=body),
            helper.make_node("Relu", ["y"], ["late"]),
        ],
        {"x": ["N", 3]},
        ["y"],
        {"rounds": np.array(3)},
    )
    part = subgraph(model, ["y"])
    assert nodes(part) == ["Neg", "Loop"]
    assert_close(run(part, {"x": X})["y"], -2 * X)


@pytest.mark.parametrize("name", ["a/b:0", "model/conv.1,relu", "plain name", "层", "x@y;z=1"])
def test_any_name_is_a_layer_name(name: str) -> None:
    model = build(
        [helper.make_node("Neg", ["x"], [name]), helper.make_node("Relu", [name], ["y"])], {"x": ["N", 3]}, ["y"]
    )
    assert_close(run(subgraph(model, [name]), {"x": X})[name], -X)


def test_inputs_that_lead_nowhere_are_left_out() -> None:
    model = build(
        [helper.make_node("Neg", ["a"], ["na"]), helper.make_node("Add", ["na", "b"], ["y"])],
        {"a": ["N", 3], "b": ["N", 3]},
        ["y"],
    )
    assert [value.name for value in subgraph(model, ["na"]).graph.input] == ["a"]


@pytest.mark.parametrize(("ir_version", "kept"), [(3, ["x", "w"]), (10, ["x"])])
def test_initialiser_listed_as_input_is_no_input_where_the_format_allows(ir_version: int, kept: list[str]) -> None:
    model = build(
        [helper.make_node("Mul", ["x", "w"], ["a"]), helper.make_node("Neg", ["a"], ["y"])],
        {"x": ["N", 3], "w": [3]},
        ["y"],
        {"w": weight(3)},
        opset=7,
        ir_version=ir_version,
    )
    part = subgraph(model, ["a"])
    assert [value.name for value in part.graph.input] == kept
    assert_close(run(part, {"x": X})["a"], X * weight(3))


def test_wrongly_declared_shape_of_an_output_does_no_harm() -> None:
    model = classic()
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("dense2", TensorProto.INT64, [7, 7]))
    feeds = {"x": weight(2, 1, 8, 8)}
    assert_close(run(subgraph(model, ["dense2"]), feeds)["dense2"], run(classic(), feeds)["dense2"])


def test_layer_that_depends_on_no_input_is_computed() -> None:
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(weight(3)))
    model = build([constant, helper.make_node("Add", ["x", "c"], ["y"])], {"x": ["N", 3]}, ["y"])
    assert_close(run(subgraph(model, ["c"]), {})["c"], weight(3))


def test_one_output_of_several_can_be_asked_for() -> None:
    split = helper.make_node("Split", ["x", "lengths"], ["first", "rest"], axis=1)
    model = build(
        [split, helper.make_node("Neg", ["rest"], ["y"])], {"x": ["N", 3]}, ["y"], {"lengths": np.array([1, 2])}
    )
    assert list(producers(model.graph)) == ["first", "rest", "y"]
    assert_close(run(subgraph(model, ["rest"]), {"x": X})["rest"], X[:, 1:])


def test_functions_of_the_model_come_along() -> None:
    twice = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 18)]
    )
    model = build([helper.make_node("Twice", ["x"], ["y"], domain="local")], {"x": ["N", 3]}, ["y"])
    model.functions.append(twice)
    model.opset_import.append(helper.make_opsetid("local", 1))
    assert_close(run(subgraph(model, ["y"]), {"x": X})["y"], 2 * X)


@st.composite
def random_models(draw: st.DrawFn) -> onnx.ModelProto:
    """A graph of unnamed nodes that read any earlier tensor, some through a branch, some yielding two tensors."""
    known = ["x"]
    made = []
    for place in range(draw(st.integers(1, 10))):
        a, b = draw(st.sampled_from(known)), draw(st.sampled_from(known))
        name = f"t{place}"
        match draw(st.sampled_from(["Tanh", "Neg", "Add", "Mul", "Split", "If"])):
            case "Split":
                made.append(helper.make_node("Split", [a], [f"{name}.1", f"{name}.2"], axis=0, num_outputs=2))
                made.append(helper.make_node("Concat", [f"{name}.2", f"{name}.1"], [name], axis=0))
            case "If":
                branches = {
                    f"{which}_branch": helper.make_graph(
                        [helper.make_node("Tanh", [read], [f"{name}.{which}"])],
                        which,
                        [],
                        [helper.make_tensor_value_info(f"{name}.{which}", TensorProto.FLOAT, None)],
                    )
                    for which, read in (("then", a), ("else", b))
                }
                made.append(helper.make_node("If", [draw(st.sampled_from(["yes", "no"]))], [name], **branches))
            case "Mul":
                made.append(helper.make_node("Mul", [a, "w"], [name]))
            case op:
                made.append(helper.make_node(op, [a, b] if op == "Add" else [a], [name]))
        known.append(name)
    flags = {"yes": np.array(True), "no": np.array(False), "w": weight(3), "spare": weight(4)}
    return build(made, {"x": [2, 3], "unused": [1]}, [known[-1]], flags)


@given(st.data())
def test_any_layers_of_any_graph_keep_their_values_and_need_all_that_is_kept(data: st.DataObject) -> None:
    model = data.draw(random_models())
    layers = data.draw(st.lists(st.sampled_from(list(producers(model.graph))), min_size=1, max_size=4, unique=True))
    part = subgraph(model, layers)
    expected = run(model, {"x": X, "unused": weight(1)}, layers)
    for layer, value in run(part, {"x": X}).items():
        assert_close(value, expected[layer])
    read = {name for node in part.graph.node for name in _reads_of(node)} | set(layers)
    assert all(read.intersection(node.output) for node in part.graph.node)
    assert read.issuperset(tensor.name for tensor in part.graph.initializer)
    assert read.issuperset(value.name for value in part.graph.input)


def _reads_of(node: onnx.NodeProto) -> set[str]:
    inner = [child for attribute in node.attribute for child in attribute.g.node]
    return set(node.input).union(*(child.input for child in inner))
