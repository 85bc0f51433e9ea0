from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from service.errors import InvalidRequest, Unprocessable
from service.inference.contract.card import InputCard
from service.inference.inputs.instances import read_instance
from tests.service.numeric import signal_card, volume_card

FOUR = signal_card(size=(4,))


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=4, max_side=4), elements=st.floats(-100, 100, width=32)))
def test_what_is_sent_arrives(sent: np.ndarray[Any, Any]) -> None:
    card = InputCard(
        name="x", kind="tensor", size=sent.shape[:-1], channels=sent.shape[-1], layout="NHWC", dtype="float32"
    )
    found = read_instance(sent.tolist(), card)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert found.flags.writeable
    np.testing.assert_array_equal(found, sent)
    if card.channels == 1:
        np.testing.assert_array_equal(read_instance(sent[..., 0].tolist(), card), sent)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_the_axis_of_a_single_channel_may_be_left_out_in_either_layout(layout: str) -> None:
    card = volume_card((2, 3, 4), layout=layout)
    sent = np.random.default_rng(0).integers(0, 256, card.size, np.uint8)
    full = sent.reshape(card.shape)
    for form in (sent, full):
        found = read_instance(form.tolist(), card)
        assert (str(found.dtype), found.shape) == ("uint8", card.shape)
        np.testing.assert_array_equal(found, full)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_floats_are_scaled_and_normalised_channel_by_channel(layout: str) -> None:
    card = signal_card(size=(3,), channels=2, layout=layout, scale=0.5, mean=(1, 2), std=(2, 4), dtype="float16")
    sent = np.arange(6.0).reshape(3, 2)
    found = read_instance((sent if layout == "NHWC" else sent.T).tolist(), card)
    expected = (sent * 0.5 - (1, 2)) / (2, 4)
    assert (str(found.dtype), found.flags.c_contiguous) == ("float16", True)
    np.testing.assert_allclose(found.astype(float), expected if layout == "NHWC" else expected.T, atol=1e-3)


@pytest.mark.parametrize(
    ("instance", "reason"),
    [
        ([1, 2, 3], r"shape \[3\], expected numbers of shape \[4\] or \[4, 1\]"),
        ([], r"shape \[0\], expected"),
        ([[[1], [2], [3], [4]]], r"shape \[1, 4, 1\]"),
        ([[1, 2]] * 4, r"shape \[4, 2\]"),
        (7, "7, expected numbers of shape"),
        ("abc", "a string, expected numbers of shape"),
        ({}, "an object, expected numbers of shape"),
        (None, "null, expected"),
        ([[1], [2], [3], []], "not all as long"),
        ([[1], 2, [3], [4]], "not all as long"),
        ([1, [2], 3, 4], r"an array at \[1\], expected numbers that float32 can hold"),
        ([1, 2, 3, "4"], r"a string at \[3\]"),
        ([1, True, 3, 4], r"a boolean at \[1\]"),
        ([None, 2, 3, 4], r"null at \[0\]"),
        ([[1], [2], [None], [4]], r"null at \[2, 0\]"),
        ([1, 2, float("nan"), 4], r"NaN at \[2\], expected"),
        ([1, -float("inf"), 3, 4], r"-Infinity at \[1\], expected"),
        ([1, 2, 3, 1e39], r"1e\+39 at \[3\], expected"),
        ([1, 2, 3, 10**400], r"at \[3\], expected"),
    ],
)
def test_what_is_no_signal_is_refused_with_its_place_and_what_was_expected(instance: object, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^instance 2: .*{reason}"):
        read_instance(instance, FOUR, index=2)


@pytest.mark.parametrize("value", [-1, 256, 0.5, 1.0, True, None, "0", 10**400, float("nan")])
def test_bytes_are_whole_numbers_from_0_to_255(value: object) -> None:
    voxels: list[Any] = [[[0, 255], [0, 255]], [[0, 255], [value, 0]]]
    with pytest.raises(InvalidRequest, match=r"at \[1, 1, 0\], expected whole numbers from 0 to 255"):
        read_instance(voxels, volume_card((2, 2, 2)))


def test_what_normalising_takes_out_of_range_is_refused() -> None:
    card = signal_card(size=(2,), dtype="float16")
    with pytest.raises(InvalidRequest, match=r"70000 at \[1\], expected numbers that float16 can hold"):
        read_instance([60000, 70000], card)
    assert read_instance([60000, 70000], signal_card(size=(2,), dtype="float16", scale=0.1)).shape == (2, 1)


def test_a_card_that_wants_a_picture_is_refused() -> None:
    card = InputCard(name="x", kind="image", size=(2, 2), channels=1, colour="GREY", layout="NHWC", dtype="uint8")
    with pytest.raises(Unprocessable, match="takes a picture"):
        read_instance([[1, 2], [3, 4]], card)
