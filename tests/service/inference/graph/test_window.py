from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import helper

from service.inference.graph.shapes import infer_shapes
from service.inference.graph.window import Window, window
from tests.service.inference.small import build, run, weight


def seen(op: str, extents: tuple[int | None, ...] = (9, 9), kernel: tuple[int, ...] = (3, 3), **settings: Any) -> Any:
    inputs = ["x", "k"] if op.startswith("Conv") else ["x"]
    model = build(
        [helper.make_node(op, inputs, ["y"], **settings)],
        {"x": ["N", 1, *extents]},
        ["y"],
        {"k": weight(1, 1, *kernel)},
    )
    return window(model.graph.node[0], infer_shapes(model))


def test_window_of_a_convolution_as_written() -> None:
    found = seen("Conv", kernel_shape=[3, 3], strides=[2, 1], pads=[1, 0, 2, 3], dilations=[1, 2])
    assert found == Window((3, 3), (2, 1), (1, 0, 2, 3), (1, 2))


def test_defaults_and_the_kernel_come_from_the_specification_and_the_weight() -> None:
    assert seen("Conv", kernel=(3, 5)) == Window((3, 5), (1, 1), (0, 0, 0, 0), (1, 1))


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
def test_poolings_have_a_window(op: str) -> None:
    assert seen(op, kernel_shape=[2, 2], strides=[2, 2]) == Window((2, 2), (2, 2), (0, 0, 0, 0), (1, 1))


@pytest.mark.parametrize("op", ["Relu", "GlobalAveragePool", "Flatten"])
def test_others_have_none(op: str) -> None:
    assert seen(op) is None


def test_signals_and_volumes_have_windows_of_their_rank() -> None:
    assert seen("Conv", (9,), (3,), pads=[1, 2]) == Window((3,), (1,), (1, 2), (1,))
    assert seen("Conv", (9, 9, 9), (2, 3, 4)) == Window((2, 3, 4), (1,) * 3, (0,) * 6, (1,) * 3)


def test_kernel_that_is_computed_from_an_input_is_unknown() -> None:
    model = build(
        [helper.make_node("Conv", ["x", "k"], ["y"])], {"x": ["N", 1, 9, 9], "k": [1, 1, "h", "w"]}, ["y"], {}
    )
    assert window(model.graph.node[0], infer_shapes(model)) is None


def test_automatic_padding_is_unknown_where_the_extent_is() -> None:
    assert seen("Conv", (None, 9), strides=[2, 2], auto_pad="SAME_UPPER").padding is None
    assert seen("Conv", (None, 9), strides=[2, 2], auto_pad="VALID", pads=[1, 1, 1, 1]).padding == (0, 0, 0, 0)


def test_automatic_padding_is_for_the_dilated_kernel() -> None:
    assert seen("Conv", dilations=[2, 3], auto_pad="SAME_UPPER").padding == (2, 3, 2, 3)


Pair = tuple[int, int]
lengths = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(
    op=st.sampled_from(["Conv", "ConvTranspose", "MaxPool"]),
    mode=st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]),
    kernel=lengths,
    strides=lengths,
    extents=st.tuples(st.integers(4, 12), st.integers(4, 12)),
)
def test_automatic_padding_equals_the_same_padding_written_out(
    op: str, mode: str, kernel: Pair, strides: Pair, extents: Pair
) -> None:
    assume(all(size >= step for size, step in zip(kernel, strides, strict=True)))  # onnxruntime refuses the others
    settings: Any = {"kernel_shape": kernel, "strides": strides}

    def padded(**padding: Any) -> onnx.ModelProto:
        inputs = ["x"] if op == "MaxPool" else ["x", "k"]
        node = helper.make_node(op, inputs, ["y"], **settings, **padding)
        return build([node], {"x": [1, 1, *extents]}, ["y"], {"k": weight(1, 1, *kernel)})

    automatic = padded(auto_pad=mode)
    found = window(automatic.graph.node[0], infer_shapes(automatic))
    assert found is not None
    feeds = {"x": weight(1, 1, *extents)}
    np.testing.assert_array_equal(run(automatic, feeds)["y"], run(padded(pads=found.padding), feeds)["y"])


@given(kernel=lengths, strides=lengths, more=st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_padding_of_a_transposed_convolution_follows_from_its_output_shape(
    kernel: Pair, strides: Pair, more: Pair
) -> None:
    full = [5 * stride + size for stride, size in zip(strides, kernel, strict=True)]
    wanted = [max(length - less, 1) for length, less in zip(full, more, strict=True)]
    found = seen("ConvTranspose", (6, 6), kernel, strides=strides, output_shape=wanted)
    halves = np.array(found.padding).reshape(2, 2)
    np.testing.assert_array_equal(halves.sum(axis=0), np.array(full) - wanted)
    assert (halves[0] - halves[1] >= 0).all()
    assert (halves[0] - halves[1] <= 1).all()
