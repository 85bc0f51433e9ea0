from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from service.inference.graph.layers import Graph
from service.inference.graph.receptive_field import ReceptiveField, Span
from tests.service.inference.graph.backbones import Stack, alexnet, resnet50, vgg16
from tests.service.inference.small import Array, build, open_session, weight

IDENTITY = ReceptiveField(1, 1, 0)


def field(model: onnx.ModelProto, layer: str) -> ReceptiveField | None:
    return Graph.of(model).layer(layer).receptive_field


def after(*nodes: onnx.NodeProto, opset: int = 18, **weights: Array) -> ReceptiveField | None:
    """Of `y`, which `nodes` make of `a`, a 3x3 convolution of `x` [N, 2, 8, 8] without padding."""
    stem = helper.make_node("Conv", ["x", "k"], ["a"])
    model = build([stem, *nodes], {"x": ["N", 2, 8, 8]}, ["y"], {"k": weight(2, 2, 3, 3), **weights}, opset=opset)
    open_session(model.SerializeToString())  # which refuses what is no graph
    return field(model, "y")


@pytest.mark.parametrize(("network", "size", "step"), [(resnet50, 427, 32), (vgg16, 212, 32), (alexnet, 195, 32)])
def test_known_networks_see_what_the_paper_says(network: Any, size: int, step: int) -> None:
    model, last = network()
    found = field(model, last)
    assert found
    assert (found.size, found.step) == (size, step)


def test_size_does_not_depend_on_the_extents_of_the_input() -> None:
    model, last = resnet50("side")
    found = field(model, last)
    assert found
    assert found.size == 427


def test_nothing_is_left_after_pooling_the_whole_picture() -> None:
    model, _ = resnet50()
    assert [row.receptive_field for row in Graph.of(model).layers[-2:]] == [None, None]


def test_window_over_a_window() -> None:
    assert Span().through(3, padding=1) == Span(3, 1, -1)
    assert Span().through(2, 2).through(3, 2, 1, 2) == Span(10, 4, -2)


def test_branches_see_what_either_sees() -> None:
    assert Span(3, 2, -1).union(Span(1, 2, 0)) == Span(3, 2, -1)
    assert Span(3, 2, -3).union(Span(2, 2, 4)) == Span(9, 2, -3)
    assert Span(3, 1, 0).union(Span(3, 2, 0)) is None


def test_axes_that_differ_are_told_apart() -> None:
    nodes = [helper.make_node("Conv", ["x", "k"], ["y"], strides=[1, 2], pads=[0, 1, 0, 1])]
    model = build(nodes, {"x": ["N", 1, 8, 8]}, ["y"], {"k": weight(1, 1, 3, 5)})
    assert field(model, "y") == ReceptiveField((3, 5), (1, 2), (0, -1))


@pytest.mark.parametrize(
    ("lost", "weights"),
    [
        (helper.make_node("Gather", ["b", "places"], ["c"], axis=3), {"places": np.arange(4)}),
        (helper.make_node("Gather", ["b", "places"], ["c"], axis=2), {"places": np.arange(8)[::-1].copy()}),
        (helper.make_node("Reshape", ["b", "shape"], ["c"]), {"shape": np.array([0, 4, 2, 8])}),
    ],
)
def test_an_axis_that_is_lost_before_the_first_window_is_not_forgotten(
    lost: onnx.NodeProto, weights: dict[str, Array]
) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["b"]), lost,
        helper.make_node("Conv", ["c", "k"], ["d"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Conv", ["d", "l"], ["y"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
    ]  # fmt: skip
    channels = 4 if lost.op_type == "Reshape" else 2
    weights = {**weights, "k": weight(2, channels, 3, 3), "l": weight(2, 2, 3, 3)}
    rows = Graph.of(build(nodes, {"x": ["N", 2, 4 if channels == 4 else 8, 8]}, ["y"], weights)).rows
    assert [rows[name].receptive_field for name in ("c", "d", "y")] == [None] * 3
    assert rows["b"].receptive_field in (IDENTITY, None)


def test_channels_that_become_an_axis_of_space_are_no_axis_of_the_picture() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Unsqueeze", ["a", "axes"], ["volume"]),
        helper.make_node("Conv", ["volume", "l"], ["y"], pads=[0, 1, 1, 0, 1, 1]),
    ]
    weights = {"k": weight(4, 2, 3, 3), "axes": np.array([1]), "l": weight(2, 1, 1, 3, 3)}
    rows = Graph.of(build(nodes, {"x": ["N", 2, 8, 8]}, ["y"], weights)).rows
    assert [rows[name].receptive_field for name in ("a", "y")] == [ReceptiveField(3, 1, -1), ReceptiveField(5, 1, -2)]


def test_an_axis_that_was_never_there_is_not_missed() -> None:
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axes"], ["rows"]),
        helper.make_node("Conv", ["rows", "k"], ["y"], pads=[0, 1, 0, 1]),
    ]
    model = build(nodes, {"x": ["N", 2, 9]}, ["y"], {"axes": np.array([2]), "k": weight(4, 2, 1, 3)})
    assert field(model, "y") == ReceptiveField(3, 1, -1)


def test_pictures_whose_channels_come_last_are_followed_from_the_pixels_on() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "s"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "k"], ["a"]),
        helper.make_node("Transpose", ["a"], ["y"], perm=[0, 2, 3, 1]),
    ]
    model = build(nodes, {"x": ["N", 8, 9, 3]}, ["y"], {"k": weight(4, 3, 3, 3), "s": weight(3)})
    rows = Graph.of(model).rows
    assert [rows[name].receptive_field for name in ("scaled", "planes", "a", "y")] == [
        IDENTITY, IDENTITY, ReceptiveField(3, 1, 0), ReceptiveField(3, 1, 0),
    ]  # fmt: skip


STILL = ReceptiveField(3, 1, 0)


@pytest.mark.parametrize(
    ("op", "attributes", "more", "expected"),
    [
        ("Relu", {}, {}, STILL),
        ("Add", {}, {"w": weight(2, 1, 1)}, STILL),
        ("BatchNormalization", {}, {name: weight(2) for name in ("s", "b", "m", "v")}, STILL),
        ("LRN", {"size": 3}, {}, STILL),
        ("Softmax", {"axis": 1}, {}, STILL),
        ("Softmax", {"axis": -1}, {}, None),
        ("LayerNormalization", {"axis": -1}, {"w": weight(6)}, None),
        ("InstanceNormalization", {}, {"w": weight(2), "b": weight(2)}, None),
        ("ReduceMean", {}, {"axes": np.array([1])}, STILL),
        ("ReduceMean", {"keepdims": 0}, {"axes": np.array([1])}, STILL),
        ("ReduceMean", {}, {"axes": np.array([2, 3])}, None),
        ("ReduceMean", {}, {"axes": np.array([-1])}, None),
        ("ReduceSum", {}, {}, None),
        ("ArgMax", {"axis": 1, "keepdims": 0}, {}, STILL),
        ("Flatten", {}, {}, None),
        ("Reshape", {}, {"to": np.array([-1, 1, 2, 6, 6])}, STILL),
        ("Reshape", {}, {"to": np.array([-1, 2, 36])}, None),
        ("Unsqueeze", {}, {"axes": np.array([1])}, STILL),
        ("Squeeze", {}, {}, STILL),
        ("Slice", {}, {"from": np.array([1]), "to": np.array([9]), "at": np.array([3])}, "rows moved"),
        ("Slice", {}, {"from": np.array([0]), "to": np.array([9]), "at": np.array([1])}, STILL),
        ("Pad", {}, {"pads": np.array([0, 0, 2, 2, 0, 0, 2, 2])}, ReceptiveField(3, 1, -2)),
        ("Pad", {"mode": "wrap"}, {"pads": np.array([0, 0, 2, 2, 0, 0, 2, 2])}, None),
        ("MatMul", {}, {"w": weight(6, 4)}, None),
        ("Gather", {"axis": 1}, {"index": np.array(0)}, STILL),
        ("Gather", {"axis": 2}, {"index": np.array([0, 1])}, None),
        ("SpaceToDepth", {"blocksize": 2}, {}, ReceptiveField(4, 2, 0)),
        ("Resize", {}, {"roi": weight(0), "scales": np.array([1, 1, 2, 2], np.float32)}, None),
        ("Resize", {}, {"roi": weight(0), "scales": np.ones(4, np.float32)}, STILL),
        ("ConvTranspose", {"strides": [2, 2]}, {"w": weight(2, 2, 3, 3)}, None),
        ("ConvTranspose", {"pads": [1, 0, 1, 0]}, {"w": weight(2, 2, 3, 3)}, ReceptiveField((5, 5), (1, 1), (-1, -2))),
        ("AveragePool", {"kernel_shape": [2, 2], "dilations": [1, 1]}, {}, ReceptiveField(4, 1, 0)),
        ("CumSum", {}, {"axis": np.array(2)}, None),
        ("Split", {"axis": 3, "num_outputs": 1}, {}, None),
        ("Slice", {}, {"from": np.array([-3]), "to": np.array([9]), "at": np.array([3])}, "rows moved by three"),
        (
            "Resize",
            {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"},
            {"roi": np.array([0, 0, 0, 0, 1, 1, 0.5, 0.5], np.float32), "scales": np.ones(4, np.float32)},
            None,
        ),
        ("GlobalMaxPool", {}, {}, None),
    ],
)
def test_each_operator(op: str, attributes: Any, more: dict[str, Array], expected: object) -> None:
    if expected == "rows moved":
        expected = ReceptiveField((3, 3), (1, 1), (0, 1))
    if expected == "rows moved by three":
        expected = ReceptiveField((3, 3), (1, 1), (0, 3))
    node = helper.make_node(op, ["a", *more], ["y"], **attributes)
    assert after(node, opset=19, **more) == expected


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("CumSum", ["a", "two"], ["b"]), helper.make_node("Add", ["a", "b"], ["y"])],
        [helper.make_node("Transpose", ["a"], ["b"], perm=[0, 1, 3, 2]), helper.make_node("Add", ["a", "b"], ["y"])],
        [helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3]), helper.make_node("Conv", ["b", "w"], ["y"])],
        [helper.make_node("Slice", ["a", "nought", "one", "three"], ["b"]), helper.make_node("Mul", ["a", "b"], ["y"])],
        [helper.make_node("Concat", ["a", "a"], ["y"], axis=3)],
    ],
)
def test_what_mixes_places_sees_the_whole_picture(nodes: list[onnx.NodeProto]) -> None:
    steering = {"nought": np.array([0]), "one": np.array([1]), "three": np.array([3]), "two": np.array(2)}
    assert after(*nodes, opset=18, w=weight(2, 6, 1, 1), **steering) is None


def test_axes_that_older_opsets_have_as_attributes_are_read() -> None:
    assert after(helper.make_node("ReduceMean", ["a"], ["y"], axes=[1]), opset=13) == STILL
    assert after(helper.make_node("Unsqueeze", ["a"], ["y"], axes=[1]), opset=11) == STILL


def test_lengths_that_are_not_known_are_not_taken_for_equal() -> None:
    nodes = [helper.make_node("Conv", ["x", "k"], ["a"]), helper.make_node("Reshape", ["a", "to"], ["y"])]
    model = build(nodes, {"x": ["N", 1, "long"]}, ["y"], {"k": weight(2, 1, 3), "to": np.array([0, 1, -1])})
    assert field(model, "a") == ReceptiveField(3, 1, 0)
    assert field(model, "y") is None


def test_an_operator_of_another_domain_is_not_the_one_of_that_name() -> None:
    nodes = [helper.make_node("Conv", ["x", "k"], ["a"]), helper.make_node("Relu", ["a"], ["y"], domain="mine")]
    assert field(build(nodes, {"x": ["N", 1, 8]}, ["y"], {"k": weight(1, 1, 3)}), "y") is None


def test_squeeze_and_excitation_sees_the_whole_picture() -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["a"], ["pooled"]),
        helper.make_node("Sigmoid", ["pooled"], ["gate"]),
        helper.make_node("Mul", ["a", "gate"], ["y"]),
    ]
    assert after(*nodes) is None


def test_attention_over_places_sees_the_whole_picture() -> None:
    nodes = [
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["a", "b"], ["scores"]),
        helper.make_node("MatMul", ["scores", "a"], ["y"]),
    ]
    assert after(*nodes) is None


def test_a_dense_layer_at_each_place_sees_no_more() -> None:
    nodes = [
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
    ]
    assert after(*nodes, w=weight(2, 5)) == STILL


def test_a_shape_that_is_read_off_the_picture_steers_but_sees_nothing() -> None:
    nodes = [
        helper.make_node("Shape", ["a"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["lengths"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["lengths"], ["longest"], keepdims=0),
        helper.make_node("Div", ["a", "longest"], ["y"]),
    ]
    assert after(*nodes) == STILL


def test_a_kernel_that_is_made_of_the_picture_sees_all_of_it() -> None:
    nodes = [
        helper.make_node("ReduceMean", ["a"], ["mean"]),
        helper.make_node("Mul", ["w", "mean"], ["kernel"]),
        helper.make_node("Conv", ["a", "kernel"], ["y"]),
    ]
    assert after(*nodes, w=weight(2, 2, 1, 1)) is None


def test_slices_of_every_second_pixel_see_a_block_once_joined() -> None:
    cuts = {
        "one": np.array([1]),
        "zero": np.array([0]),
        "far": np.array([99]),
        "at": np.array([3]),
        "two": np.array([2]),
    }
    nodes = [
        helper.make_node("Slice", ["x", "zero", "far", "at", "two"], ["even"]),
        helper.make_node("Slice", ["x", "one", "far", "at", "two"], ["odd"]),
        helper.make_node("Concat", ["even", "odd"], ["y"], axis=1),
        helper.make_node("Conv", ["y", "k"], ["z"]),
    ]
    model = build(nodes, {"x": ["N", 1, 8, 8]}, ["z"], {**cuts, "k": weight(1, 2, 1, 1)})
    assert field(model, "y") == ReceptiveField((1, 2), (1, 2), (0, 0))


def test_two_inputs_of_the_same_geometry_are_seen_alike_and_others_not() -> None:
    def of(left: str, right: str) -> ReceptiveField | None:
        nodes = [
            helper.make_node("Conv", ["left", left], ["a"], pads=[weights[left].shape[-1] // 2] * 4),
            helper.make_node("Conv", ["right", right], ["b"], pads=[weights[right].shape[-1] // 2] * 4),
            helper.make_node("Add", ["a", "b"], ["y"]),
        ]
        return field(build(nodes, {"left": ["N", 1, 8, 8], "right": ["N", 1, 8, 8]}, ["y"], weights), "y")

    weights = {"three": weight(1, 1, 3, 3), "five": weight(1, 1, 5, 5)}
    assert of("three", "three") == ReceptiveField(3, 1, -1)
    assert of("three", "five") is None


def test_same_padding_of_an_unknown_extent_is_known_at_stride_one() -> None:
    node = helper.make_node("Conv", ["x", "k"], ["y"], auto_pad="SAME_UPPER")
    model = build([node], {"x": ["N", 1, "h", "w"]}, ["y"], {"k": weight(1, 1, 4, 4)})
    assert field(model, "y") == ReceptiveField(4, 1, -1)


@st.composite
def random_networks(draw: st.DrawFn) -> tuple[onnx.ModelProto, str, int]:
    """Windows, sums and concatenations over one row of pixels: positive weights, so that nothing cancels out."""
    stack, length = Stack(), draw(st.integers(24, 40))
    layers, number = ["x"], st.integers(1, 3)
    for _ in range(draw(st.integers(1, 6))):
        x = draw(st.sampled_from(layers))
        kind = draw(st.sampled_from(["Conv", "ConvTranspose", "AveragePool", "Add", "Pad", "Slice", "Transpose"]))
        if kind in ("Conv", "ConvTranspose", "AveragePool"):
            size, dilation = draw(number), draw(number)
            settings: dict[str, Any] = {"pads": [draw(st.integers(0, size - 1)) for _ in "ab"], "dilations": [dilation]}
            settings["strides"] = [1 if kind == "ConvTranspose" else draw(number)]
            if kind == "AveragePool":
                settings |= {"kernel_shape": [size], "count_include_pad": 1}
                layers.append(stack.add(kind, x, **settings))
            else:
                stack.weights[f"k{len(layers)}"] = np.ones((1, 1, size), np.float32)
                layers.append(stack.add(kind, x, f"k{len(layers)}", **settings))
        elif kind == "Pad":
            stack.weights[f"p{len(layers)}"] = np.array([0, 0, draw(number), 0, 0, draw(number)])
            layers.append(stack.add(kind, x, f"p{len(layers)}"))
        elif kind == "Slice":
            for name, value in (("s", draw(number)), ("e", 99), ("a", 2), ("t", draw(number))):
                stack.weights[f"{name}{len(layers)}"] = np.array([value])
            layers.append(stack.add(kind, x, *(f"{name}{len(layers)}" for name in "seat")))
        elif kind == "Add":
            layers.append(stack.add(kind, x, draw(st.sampled_from(layers))))
        else:
            layers.append(stack.add(kind, stack.add(kind, x, perm=[0, 2, 1]), perm=[0, 2, 1]))
    last = stack.add("Identity", layers[-1])
    head = stack.add("GlobalAveragePool", "x")  # so that there is always an axis of space
    return build(stack.nodes, {"x": [1, 1, length]}, [last, head], stack.weights), last, length


@settings(deadline=None)
@given(random_networks())
def test_a_pixel_that_changes_is_seen_exactly_where_the_field_says(case: tuple[onnx.ModelProto, str, int]) -> None:
    model, last, length = case
    try:
        session = open_session(model.SerializeToString())
        [quiet] = session.run([last], {"x": np.ones((1, 1, length), np.float32)})
    except Exception:  # windows larger than what they slide over, sums of lengths that do not go together
        return
    if not quiet.size:
        return
    found = field(model, last)
    seen = np.zeros((quiet.shape[-1], length), bool)
    for pixel in range(length):
        changed = np.ones((1, 1, length), np.float32)
        changed[..., pixel] = 100
        seen[:, pixel] = (session.run([last], {"x": changed})[0] != quiet)[0, 0]
    if found is None:
        return
    size, step, start = found.size, found.step, found.start
    assert isinstance(size, int)
    assert isinstance(step, int)
    assert isinstance(start, int)
    tight = {node.op_type for node in model.graph.node}.isdisjoint({"Slice", "ConvTranspose"})  # which cut borders off
    for place, pixels in enumerate(seen):
        left, right = start + place * step, start + place * step + size - 1
        where = np.flatnonzero(pixels)
        assert not len(where) or (left <= where[0] and where[-1] <= right)
        if tight and left >= 0 and right < length:
            assert where[0] == left
