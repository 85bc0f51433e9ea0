"""Where the places of a LinearHead's layer lie in the picture, and when that is too uncertain to have one."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import pytest
from onnx import helper

from service.inference.graph.receptive_field import Span
from tests.service.inference.graph.test_head import FIRST, head, node
from tests.service.inference.small import Array, Lengths, build, weight


def places(nodes: Sequence[onnx.NodeProto], weights: Mapping[str, Array], extents: Lengths = (1, 3, 8, 12)) -> object:
    """The axes of the layer before a global mean, and what its places see; None where there is no linear head."""
    pool = [node("GlobalAveragePool", ["a"], "pool"), node("Flatten", ["pool"], "y")]
    found = head(build([*nodes, *pool], {"x": extents}, ["y"], {"k": weight(3, 3, 3, 3), **weights}))
    return found and (found.order, *found.spans)


CONV = node("Conv", ["b", "k"], "a", pads=[1, 1, 1, 1])
SEES = Span(3, 1, -1)


def whole(*extents: int) -> dict[str, Array]:
    """What a slice of all of each last axis takes."""
    return {
        "from": np.zeros(len(extents), np.int64), "to": np.array(extents), "at": np.arange(4 - len(extents), 4),
    }  # fmt: skip


EVEN: dict[str, tuple[list[onnx.NodeProto], dict[str, Array]]] = {
    "a gate of the whole picture": (
        [
            node("GlobalAveragePool", ["x"], "mean"), node("Sigmoid", ["mean"], "gate"),
            node("Mul", ["x", "gate"], "b"), CONV,
        ],
        {},
    ),
    "a gate from dense layers": (
        [
            node("ReduceMean", ["x", "space"], "mean", keepdims=0), node("Gemm", ["mean", "v"], "dense"),
            node("Reshape", ["dense", "shape"], "gate"), node("Mul", ["x", "gate"], "b"), CONV,
        ],
        {"space": np.array([2, 3]), "v": weight(3, 3), "shape": np.array([1, 3, 1, 1])},
    ),
    "all of it made larger": (
        [node("Resize", ["x", "", "scales"], "b"), CONV], {"scales": np.array([1, 1, 2, 2], np.float32)}
    ),
    "a transposed convolution": ([node("ConvTranspose", ["x", "k"], "b", strides=[2, 2]), CONV], {}),
    "channels shuffled after a gate": (
        [
            node("Softmax", ["x"], "soft", axis=-1), node("Reshape", ["soft", "groups"], "five"),
            node("Transpose", ["five"], "turned", perm=[0, 2, 1, 3, 4]), node("Reshape", ["turned", "four"], "b"), CONV,
        ],
        {"groups": np.array([0, 3, 1, 8, 12]), "four": np.array([0, 3, 8, 12])},
    ),
    "a slice of all of it": (
        [node("Softmax", ["x"], "s", axis=-1), node("Slice", ["s", "from", "to", "at"], "b"), CONV], whole(8, 99)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EVEN)
def test_what_sees_the_whole_picture_may_still_cover_it_evenly(name: str) -> None:
    nodes, weights = EVEN[name]
    found = places(nodes, weights)
    assert found in ((FIRST, None, None), (FIRST, SEES, None))


def slices(start: int, end: int, step: int, axis: int) -> dict[str, Array]:
    return {name: np.array([number]) for name, number in zip("stuv", (start, end, axis, step), strict=True)}


SOFT = node("Softmax", ["x"], "soft", axis=-1)  # a place of it sees its whole row
UNEVEN: dict[str, tuple[list[onnx.NodeProto], dict[str, Array]]] = {
    "upside down": ([node("Slice", ["x", *"stuv"], "b"), CONV], slices(-1, -(10**6), -1, 2)),
    "part of a row": ([SOFT, node("Slice", ["soft", *"stuv"], "b"), CONV], slices(4, 10, 1, 3)),
    "every other": ([SOFT, node("Slice", ["soft", *"stuv"], "b"), CONV], slices(0, 12, 2, 3)),
    "gathered": ([node("Gather", ["x", "g"], "b", axis=3), CONV], {"g": np.arange(11, -1, -1)}),
    "twice": ([node("Concat", ["x", "x"], "b", axis=2), CONV], {}),
    "split": ([helper.make_node("Split", ["x"], ["b", "c"], axis=2, num_outputs=2), CONV], {}),
    "swapped by a formula": ([node("Einsum", ["x"], "b", equation="nchw->ncwh"), CONV], {}),
    "padded behind a gate": ([SOFT, node("Pad", ["soft", "p"], "b"), CONV], {"p": np.array([0] * 7 + [9])}),
    "padded by the convolution": ([SOFT, node("Conv", ["soft", "k"], "a", pads=[1, 0, 1, 9])], {}),
    "reshaped": ([node("Reshape", ["x", "r"], "b"), CONV], {"r": np.array([1, 3, 12, 8])}),
    "a crop made larger": (
        [
            node("Slice", ["x", *"stuv"], "crop"), node("Resize", ["crop", "", "f"], "b"), CONV,
        ],
        {**slices(2, 6, 1, 2), "f": np.array([1, 1, 2, 1], np.float32)},
    ),
    "added to itself upside down": (
        [node("Slice", ["x", *"stuv"], "down"), node("Add", ["x", "down"], "b"), CONV], slices(-1, -(10**6), -1, 2)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNEVEN)
def test_places_that_were_moved_make_no_map(name: str) -> None:
    nodes, weights = UNEVEN[name]
    assert places(nodes, weights) is None


def test_a_crop_and_padding_are_known_by_what_the_places_see() -> None:
    crop = places([node("Slice", ["x", *"stuv"], "b"), CONV], slices(4, 10, 1, 3))
    assert crop == (FIRST, SEES, Span(3, 1, 3))
    padded = places([node("Pad", ["x", "p"], "b"), CONV], {"p": np.array([0, 0, 5, 0, 0, 0, 0, 0])})
    assert padded == (FIRST, Span(3, 1, -6), SEES)


def test_axes_are_followed_to_where_they_lie() -> None:
    turned = node("Transpose", ["x"], "t", perm=[0, 1, 3, 2])
    again = node("Reshape", ["t", "r"], "b")
    assert places([turned, again, CONV], {"r": np.array([0, 3, 12, 8])}) == ((0, 1, 3, 2), SEES, SEES)
    both = node("Add", ["t", "x"], "b")
    assert places([turned, both, CONV], {}, (1, 3, 8, 8)) is None  # two orders meet
