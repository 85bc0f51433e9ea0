import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from service.inference.looking.channel_statistics import statistics
from tests.service.inference.small import Array, weight


def columns(values: Array, **options: int) -> dict[str, Sequence[float]]:
    return vars(statistics(values, **options))


@given(arrays(np.float32, array_shapes(min_dims=1, max_dims=4, max_side=4), elements=st.floats(-100, 100, width=32)))
def test_statistics_are_those_of_each_channel(values: Array) -> None:
    found = columns(values)
    for index, channel in enumerate(values.astype(np.float64)):
        assert found["mean"][index] == pytest.approx(channel.mean(), abs=1e-9)
        assert found["std"][index] == pytest.approx(channel.std(), abs=1e-9)
        assert (found["min"][index], found["max"][index]) == (channel.min(), channel.max())
        assert found["zeros"][index] == (channel == 0).mean()


def test_statistics_take_any_axis_for_the_channels() -> None:
    values = weight(4, 5, 3)
    assert statistics(values, channel_axis=-1) == statistics(np.moveaxis(values, -1, 0))
    assert len(statistics(values, channel_axis=-1).mean) == 3


def test_dead_channel_shows() -> None:
    assert columns(np.stack([np.zeros((2, 2)), np.ones((2, 2))]))["zeros"] == [1.0, 0.0]


def test_each_feature_of_a_vector_is_a_channel() -> None:
    found = columns(np.array([1.5, 0.0], np.float16))
    assert found == {"mean": [1.5, 0], "std": [0, 0], "min": [1.5, 0], "max": [1.5, 0], "zeros": [0, 1]}


@pytest.mark.parametrize("values", [np.array(2.5, np.float32), np.array([True]), np.array([[7, 7]])])
def test_single_numbers_flags_and_integers_have_statistics(values: Array) -> None:
    found = statistics(values)
    assert found.mean == found.max == found.min == [values.max()]


def test_large_halves_do_not_overflow() -> None:
    assert columns(np.full((1, 64, 64), 60000, np.float16)) == {
        "mean": [60000],
        "std": [0],
        "min": [60000],
        "max": [60000],
        "zeros": [0],
    }


def test_what_is_not_finite_and_what_is_empty_have_statistics_without_a_warning() -> None:
    assert math.isnan(columns(np.array([[1, np.nan]]))["mean"][0])
    assert columns(np.array([[1, np.inf]]))["max"] == [math.inf]
    assert math.isnan(columns(np.zeros((2, 0)))["min"][1])
    assert statistics(np.zeros((0, 3))).mean == []


def test_a_zero_has_no_sign() -> None:
    found = statistics(np.full((1, 2), -0.0, np.float32))
    assert {math.copysign(1, column[0]) for column in (found.mean, found.min, found.max)} == {1.0}
