from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import helper

from service.inference.graph.folding import Folding
from service.inference.graph.layers import Graph
from service.inference.graph.receptive_field import ReceptiveField
from service.inference.graph.shapes import infer
from tests.service.inference.graph.foreign import halving
from tests.service.inference.small import Array, build, weight


@pytest.mark.parametrize("extents", [(8, 8), ("h", "w")])
def test_half_of_the_channels_is_worked_out_whatever_the_height_and_width(extents: Sequence[int | str]) -> None:
    graph = Graph.of(halving(4, extents))
    place = tuple(length if isinstance(length, int) else None for length in extents)
    assert graph.layer("upper").shape == ("N", 2, *place)
    assert graph.layer("y").receptive_field == ReceptiveField(3, 1, 0)
    assert graph.totals.macs == (36 * 54 if extents == (8, 8) else None)


def test_what_depends_on_the_batch_is_no_constant() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["lengths"]),
        helper.make_node("Gather", ["lengths", "zero"], ["batch"], axis=0),
        helper.make_node("Gather", ["lengths", "one"], ["channels"], axis=0),
        helper.make_node("Concat", ["batch", "channels"], ["both"], axis=0),
        helper.make_node("Reshape", ["x", "both"], ["y"]),
    ]
    found = infer(build(nodes, {"x": ["N", 4, 1]}, ["y"], {"zero": np.array([0]), "one": np.array([1])}))
    assert found.shapes["y"] == ("N", 4)
    assert found.constants["channels"].tolist() == [4]
    assert "batch" not in found.constants


def folded(nodes: list[onnx.NodeProto], shape: tuple[int | None, ...], **weights: Array) -> dict[str, Array]:
    model = build(nodes, {"x": shape}, [], weights)
    found = Folding(model.graph, 18).fold({"x": shape})
    assert {tensor.name for tensor in model.graph.initializer} == {*weights, *found}
    assert {name for node in model.graph.node for name in node.output}.isdisjoint(found)
    return found


def test_lengths_are_picked_by_where_they_are() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["all"]),
        helper.make_node("Slice", ["all", "begin", "end"], ["middle"]),
        helper.make_node("Squeeze", ["middle"], ["one"]),
        helper.make_node("Shape", ["x"], ["last"], start=-1),
    ]
    found = folded(nodes, (None, 5, None), begin=np.array([1]), end=np.array([2]))
    assert {name: value.tolist() for name, value in found.items()} == {"middle": [5], "one": 5}


@pytest.mark.parametrize(("by", "known"), [(2, True), (0, False)])
def test_a_division_by_nothing_has_no_result(by: int, known: bool) -> None:
    nodes = [helper.make_node("Shape", ["x"], ["all"]), helper.make_node("Div", ["all", "by"], ["some"])]
    assert ("some" in folded(nodes, (4,), by=np.array([by]))) is known


def test_whatever_is_large_is_left_alone() -> None:
    nodes = [helper.make_node("Shape", ["x"], ["all"]), helper.make_node("ConstantOfShape", ["all"], ["zeros"])]
    assert list(folded(nodes, (40, 50))) == ["all"]
    assert list(folded(nodes, (4, 5))) == ["all", "zeros"]


def test_nodes_of_a_wrong_graph_are_left_alone() -> None:
    nodes = [helper.make_node("Shape", [], ["a"]), helper.make_node("Gather", ["w", "far"], ["b"])]
    assert folded(nodes, (4,), w=weight(3), far=np.array([7])) == {}


def test_what_has_many_axes_is_left_alone() -> None:
    """Three small ones may broadcast to something large."""
    many = {"a": np.ones((9, 1, 1)), "b": np.ones((1, 9, 1)), "c": np.ones((1, 1, 9))}
    assert folded([helper.make_node("Max", ["a", "b", "c"], ["y"])], (4,), **many) == {}


def test_pads_that_an_exporter_turns_round_are_worked_out() -> None:
    nodes = [
        helper.make_node("Reshape", ["pads", "pairs"], ["paired"]),
        helper.make_node("Slice", ["paired", "last", "before", "first", "last"], ["turned"]),
        helper.make_node("Transpose", ["turned"], ["sides"], perm=[1, 0]),
        helper.make_node("Reshape", ["sides", "last"], ["flat"]),
        helper.make_node("Pad", ["x", "flat"], ["padded"]),
        helper.make_node("Conv", ["padded", "k"], ["y"]),
    ]
    weights: dict[str, Array] = {"pads": np.array([1, 1, 2, 2, 0, 0, 0, 0]), "k": weight(2, 2, 3, 3)}
    weights |= {"pairs": np.array([-1, 2]), "last": np.array([-1]), "first": np.array([0]), "before": np.array([-9])}
    model = build(nodes, {"x": ["N", 2, 8, 8]}, ["y"], weights)
    row = Graph.of(model).layer("y")
    assert row.shape == ("N", 2, 10, 8)
    assert row.receptive_field == ReceptiveField((3, 3), (1, 1), (-2, -1))
