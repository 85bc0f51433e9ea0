import numpy as np
import pytest

from service.inference.looking.comparison import LayerComparison
from tests.service.inference.small import weight


def test_inputs_add_up_to_one_cosine_and_the_largest_difference() -> None:
    ours, theirs = weight(3, 4, 5), weight(3, 4, 5) + weight(5, 4, 3).reshape(3, 4, 5) / 10
    found = LayerComparison("relu")
    for one, other in zip(ours, theirs, strict=True):
        found.add(one, other)
    cosine = (ours * theirs).sum() / np.linalg.norm(ours) / np.linalg.norm(theirs)
    assert found.cosine == pytest.approx(cosine, abs=1e-6)
    assert found.largest_difference == pytest.approx(np.abs(ours - theirs).max())
    assert found.magnitude == pytest.approx(np.abs(ours).max())
    found.add(np.zeros(4), np.zeros(4))  # a later input that is alike does not hide an earlier difference
    assert found.largest_difference == pytest.approx(np.abs(ours - theirs).max())


def test_the_same_values_are_alike_and_opposite_ones_are_not() -> None:
    same, opposite = LayerComparison("a"), LayerComparison("a")
    same.add(weight(9), weight(9))
    opposite.add(weight(9), -weight(9))
    assert same.cosine == pytest.approx(1)
    assert same.largest_difference == 0
    assert opposite.cosine == pytest.approx(-1)


def test_shapes_that_differ_are_told_and_not_compared() -> None:
    found = LayerComparison("a")
    found.add(weight(2, 3), weight(3, 2))
    assert (found.shape, found.against_shape) == ((2, 3), (3, 2))
    assert (found.cosine, found.largest_difference, found.magnitude) == (None, None, None)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_what_has_no_direction_has_no_cosine(value: float) -> None:
    found = LayerComparison("a")
    found.add(np.full(3, value), np.ones(3))
    assert found.cosine is None


def test_a_model_that_has_gone_astray_shows() -> None:
    astray = np.array([1, np.nan, 4, np.inf], np.float32)
    found = LayerComparison("a")
    found.add(np.array([2, 2, 2, 2], np.float32), astray)
    assert (found.not_finite, found.against_not_finite) == (0, 2)
    assert (found.largest_difference, found.magnitude) == (2, 2)
    assert found.cosine == pytest.approx((2 * 1 + 2 * 4) / np.sqrt(8 * 17))  # of the places where both are finite
    found.add(np.full(4, np.nan), np.full(4, np.nan))
    assert (found.not_finite, found.against_not_finite, found.largest_difference) == (4, 6, 2)
    assert found.cosine == pytest.approx((2 * 1 + 2 * 4) / np.sqrt(8 * 17))


def test_the_magnitude_is_the_largest_of_all_inputs() -> None:
    found = LayerComparison("a")
    for value in (1.0, 5.0, 2.0):
        found.add(np.full(3, -value), np.zeros(3))
    assert found.magnitude == 5


@pytest.mark.parametrize("largest", [np.float64(1.7e308)])
def test_a_difference_too_large_for_a_float_is_still_finite(largest: np.float64) -> None:
    found = LayerComparison("a")
    found.add(np.array([largest]), np.array([-largest]))
    assert found.largest_difference is not None
    assert np.isfinite(found.largest_difference)
