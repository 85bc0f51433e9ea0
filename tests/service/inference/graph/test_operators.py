from typing import Any

import onnx
import pytest
from onnx import helper

from service.errors import ModelRejected
from service.inference.graph.channels import channel_axes
from service.inference.graph.layers import Graph
from service.inference.graph.operators import equivalent, is_foreign, standard
from service.inference.graph.receptive_field import ReceptiveField
from service.inference.graph.soundness import check_sound
from tests.service.inference.graph.foreign import BLOCKED, ONNXRUNTIME, OWN, foreign, function, fused, quantised
from tests.service.inference.small import open_session, weight


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_a_standard_operator_is_itself(domain: str) -> None:
    node = helper.make_node("Conv", ["x", "k"], ["y"], domain=domain)
    assert standard(node) is equivalent(node) is node


@pytest.mark.parametrize("op", ["Conv", "Constant", "Split", "MaxPool"])
def test_a_namesake_is_none(op: str) -> None:
    node = helper.make_node(op, ["x"], ["y"], domain=OWN)
    assert standard(node).op_type == f"my::{op}"
    assert is_foreign(standard(node))
    assert equivalent(node) is None
    assert standard(standard(node)).op_type.endswith(op)
    assert node.op_type == op


@pytest.mark.parametrize(
    ("domain", "op", "given", "expected", "kept"),
    [
        ("", "QLinearConv", "abcdefghi", "Conv", "adi"),
        ("", "QLinearConv", "abcdefgh", "Conv", "ad"),
        (ONNXRUNTIME, "QLinearConcat", "szabcdef", "Concat", "ad"),
        (ONNXRUNTIME, "FusedConv", "xwbz", "Conv", "xwbz"),
        (BLOCKED, "Conv", "xwb", "Conv", "xwb"),
    ],
)
def test_what_is_as_good_as_standard_keeps_the_numbers_alone(
    domain: str, op: str, given: str, expected: str, kept: str
) -> None:
    same = standard(helper.make_node(op, list(given), ["y"], domain=domain))
    assert (same.op_type, same.domain, list(same.input)) == (expected, "", list(kept))


@pytest.mark.parametrize(
    ("op", "settings"),
    [("FusedMatMul", {"transB": 1}), ("QLinearGlobalAveragePool", {"channels_last": 1})],
)
def test_axes_that_lie_otherwise_make_another_operator(op: str, settings: Any) -> None:
    assert equivalent(helper.make_node(op, ["x"], ["y"], domain=ONNXRUNTIME)) is not None
    assert equivalent(helper.make_node(op, ["x"], ["y"], domain=ONNXRUNTIME, **settings)) is None


def test_channels_that_do_not_fill_their_blocks_are_not_those_of_the_tensor() -> None:
    full, part = (
        helper.make_node("ReorderOutput", ["x"], ["y"], domain=BLOCKED, channels=count) for count in (512, 58)
    )
    assert standard(full).op_type == "Identity"
    assert equivalent(part) is None


def namesake(op: str, outputs: tuple[str, ...] = ("r",)) -> onnx.ModelProto:
    body = [helper.make_node("Relu", ["v"], ["out"])]
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"]),
        helper.make_node(op, ["c"], list(outputs), domain=OWN),
        helper.make_node("Flatten", ["r"], ["y"]),
    ]
    own = function(op, ["v"], body)
    if len(outputs) > 1:
        own.output.append("more")
        own.node.append(helper.make_node("Neg", ["v"], ["more"]))
    return foreign(nodes, {"k": weight(3, 2, 3, 3)}, [own])


@pytest.mark.parametrize(("op", "outputs"), [("Conv", ("r",)), ("Constant", ("r",)), ("Split", ("r", ""))])
def test_a_function_named_like_a_standard_operator_is_opened_and_not_taken_for_it(
    op: str, outputs: tuple[str, ...]
) -> None:
    model = namesake(op, outputs)
    check_sound(model)
    if op != "Constant":  # which onnxruntime 1.31 takes for the standard one, too
        open_session(model.SerializeToString())
    graph = Graph.of(model)
    row = graph.layer("r")
    assert (row.op, row.kind, row.inputs, row.kernel, row.groups, row.macs) == (op, None, ("c",), None, None, None)
    assert row.shape == ("N", 3, 6, 6)
    assert (graph.totals.parameters, graph.totals.macs) == (54, 36 * 54)
    assert channel_axes(model.graph, {row.name: row.shape for row in graph.layers}) == {}


def test_a_standard_split_is_refused_still() -> None:
    node = helper.make_node("Split", ["x"], ["y", ""], axis=1, domain="ai.onnx")
    with pytest.raises(ModelRejected, match="Split of 'x'"):
        check_sound(foreign([node], {}))


def test_quantised_operators_have_the_rows_of_those_that_they_stand_for() -> None:
    model = quantised()
    open_session(model.SerializeToString())
    graph = Graph.of(model)
    row = graph.layer("wide")
    assert (row.op, row.kind, row.shape) == ("QLinearConv", "conv", ("N", 3, 4, 4))
    assert (row.kernel, row.stride, row.padding, row.dilation) == ((3, 3), (2, 2), (1, 1, 1, 1), (1, 1))
    assert (row.groups, row.parameters, row.macs) == (1, 54 + 3, 16 * 54)
    assert row.dense_equivalent
    assert row.dense_equivalent.local == 54
    assert [graph.layer(name).kind for name in ("leaky", "soft", "pooled", "mean", "dense")] == [
        "activation", "activation", "pool", "pool", "dense",
    ]  # fmt: skip
    assert graph.layer("both").shape == ("N", 6, 2, 2)
    assert graph.layer("both").receptive_field == ReceptiveField(5, 4, -1)
    assert graph.totals.parameters == 54 + 3 + 9 + 30
    assert graph.totals.macs == 16 * 54 + 16 * 9 + 30


def test_onnxruntimes_fused_operators_are_seen_through() -> None:
    model = fused()
    open_session(model.SerializeToString())
    graph = Graph.of(model)
    assert [(row.kind, row.shape) for row in graph.layers] == [
        ("conv", ("N", 2, 8, 8)), ("activation", ("N", 2, 8, 8)), (None, ("N", 128)), ("dense", ("N", 5)),
    ]  # fmt: skip
    assert graph.layer("gelu").receptive_field == ReceptiveField(3, 1, -1)
    assert graph.totals.macs == 64 * 36 + 640


def test_what_is_added_to_a_fused_convolution_is_seen_as_well() -> None:
    wide = helper.make_node("Conv", ["x", "l"], ["wide"], pads=[2] * 4)
    adding = helper.make_node("FusedConv", ["x", "k", "", "wide"], ["y"], domain=ONNXRUNTIME, pads=[1] * 4)
    graph = Graph.of(foreign([wide, adding], {"k": weight(2, 2, 3, 3), "l": weight(2, 2, 5, 5)}))
    assert graph.layer("y").receptive_field == ReceptiveField(5, 1, -2)


def test_scales_of_the_picture_itself_let_every_place_see_all_of_it() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DynamicQuantizeLinear", ["x"], ["all", "scale", "zero"]),
        helper.make_node("ConvInteger", ["q", "k", "z"], ["y"]),
        helper.make_node("ConvInteger", ["q", "k", "zero"], ["turned"]),
    ]
    weights = {"s": weight(1)[0], "z": weight(1)[0].astype("uint8"), "k": weight(2, 2, 3, 3).astype("int8")}
    graph = Graph.of(foreign(nodes, weights))
    assert graph.layer("y").receptive_field == ReceptiveField(3, 1, 0)
    assert graph.layer("turned").receptive_field is None
