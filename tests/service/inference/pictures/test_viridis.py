import numpy as np
import pytest

from service.inference.pictures.viridis import VIRIDIS, viridis

# The published colours at some of the places that lie between two anchors.
PUBLISHED = {
    2: (69, 4, 87),
    33: (71, 46, 124),
    67: (57, 85, 140),
    98: (43, 116, 142),
    128: (33, 145, 140),
    163: (44, 177, 126),
    192: (94, 201, 98),
    228: (184, 222, 41),
    253: (248, 230, 33),
}


@pytest.mark.parametrize("place", PUBLISHED)
def test_colours_are_viridis(place: int) -> None:
    assert np.abs(VIRIDIS[place].astype(int) - PUBLISHED[place]).max() <= 2


def test_higher_values_are_lighter() -> None:
    luminance = VIRIDIS[::3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()


def test_values_become_colours_in_their_shape() -> None:
    colours = viridis(np.array([[0.0, 0.5, 1.0]]))
    assert colours.shape == (1, 3, 3)
    np.testing.assert_array_equal(colours[0], VIRIDIS[[0, 128, 255]])


def test_no_colour_sticks_out() -> None:
    bends = np.diff(VIRIDIS.astype(int), n=2, axis=0)
    assert np.abs(bends).max() <= 2
