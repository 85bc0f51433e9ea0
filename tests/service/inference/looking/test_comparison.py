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
