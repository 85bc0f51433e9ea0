import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidRequest, UnknownName
from service.inference.looking.selection import Pool, Selection
from tests.service.inference.small import Array, weight


def test_numbers_and_ranges_in_the_order_asked_for_each_once() -> None:
    assert Selection.of(["5", "1-3", "2", "5"]).numbers("relu", 8) == [5, 1, 2, 3]
    assert list(Selection.of([]).numbers("relu", 3)) == [0, 1, 2]


@pytest.mark.parametrize("word", ["", "a", "-1", "3-1", "1-", "1-2-3", "1.5", "1e3", "٣", "9" * 30, "1,2"])
def test_nonsense_is_refused(word: str) -> None:
    with pytest.raises(InvalidRequest, match="neither a number"):
        Selection.of([word])


@pytest.mark.parametrize("word", ["8", "0-8", "999999999", "0-999999999"])
def test_a_channel_that_is_not_there_is_unknown(word: str) -> None:
    with pytest.raises(UnknownName, match="layer 'relu', which has 8") as caught:
        Selection.of([word]).cut("relu", weight(1, 8, 2, 2), 1)
    assert set(caught.value.nearest) == {"5", "6", "7"}


@pytest.mark.parametrize(("axis", "shape"), [(1, (2, 6, 3, 4)), (3, (2, 3, 4, 6)), (1, (2, 6)), (1, (2, 6, 5))])
def test_channels_are_cut_along_their_axis(axis: int, shape: tuple[int, ...]) -> None:
    values = weight(*shape)
    cut = Selection.of(["4", "0-1"]).cut("relu", values, axis)
    np.testing.assert_array_equal(np.moveaxis(cut, axis, 0), np.moveaxis(values, axis, 0)[[4, 0, 1]])


def test_pooling_leaves_a_number_per_channel() -> None:
    values = weight(2, 6, 3, 4)
    np.testing.assert_allclose(Selection(pool="mean").cut("relu", values, 1), values.mean(axis=(2, 3)), atol=1e-7)
    np.testing.assert_array_equal(Selection(pool="max").cut("relu", values, 1), values.max(axis=(2, 3)))
    last = np.moveaxis(values, 1, -1)
    np.testing.assert_array_equal(Selection(pool="max").cut("relu", last, 3), values.max(axis=(2, 3)))


@pytest.mark.parametrize(
    ("given", "mean"), [(np.float16, np.float16), (np.float64, np.float64), (np.uint8, np.float32), (bool, np.float32)]
)
def test_pooling_keeps_the_type_where_it_can(given: type, mean: type) -> None:
    values: Array = np.ones((1, 2, 100, 100), given)
    assert Selection(pool="max").cut("relu", values, 1).dtype == given
    pooled = Selection(pool="mean").cut("relu", values, 1)
    assert pooled.dtype == mean
    assert pooled.tolist() == [[1.0, 1.0]]


def test_large_halves_do_not_overflow_in_their_mean() -> None:
    values = np.full((1, 1, 64, 64), 60000, np.float16)
    assert Selection(pool="mean").cut("relu", values, 1) == 60000


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_no_place_at_all_has_no_mean_and_no_maximum(pool: Pool) -> None:
    assert np.isnan(Selection(pool=pool).cut("relu", weight(2, 3, 0, 4), 1)).tolist() == [[True] * 3] * 2


@pytest.mark.parametrize("shape", [(), (5,)])
def test_what_has_no_channels_stays_as_it_is(shape: tuple[int, ...]) -> None:
    values = weight(*shape)
    assert Selection.of(["3"], "mean").cut("shape", values, 1) is values


@given(
    st.lists(st.integers(2, 5), min_size=2, max_size=4),
    st.lists(st.sampled_from(["0", "1", "0-1"])),
    st.sampled_from([None, "mean", "max"]),
    st.integers(1, 3),
)
def test_size_says_beforehand_what_is_left(shape: list[int], channels: list[str], pool: Pool | None, axis: int) -> None:
    axis = min(axis, len(shape) - 1)
    selection = Selection.of(channels, pool)
    assert selection.size("relu", shape, axis) == selection.cut("relu", weight(*shape), axis).size


def test_a_mean_of_halves_does_not_overflow() -> None:
    halves = np.full((1, 2, 64, 64), 60000, np.float16)
    pooled = Selection.of([], "mean").cut("a", halves, 1)
    assert (str(pooled.dtype), pooled.tolist()) == ("float16", [[60000, 60000]])
    assert Selection.of([], "mean").cut("a", np.array([[[1, 2]]], np.int64), 1).dtype == np.float32
