import io

import numpy as np
import pytest
from PIL import Image

from service.errors import NotAcceptable
from service.inference.pictures.diverging import DIVERGING
from service.inference.pictures.kernel_sheet import kernel_sheet
from service.inference.pictures.matrix import Blocks
from service.inference.pictures.viridis import VIRIDIS
from tests.service.inference.small import Array, weight


def body(png: bytes) -> Array:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)[86:]


def blocks(sheet: Array, colour: tuple[int, ...]) -> int:
    return int((sheet == colour).all(axis=-1).sum())


BLUE, WHITE, RED = (tuple(DIVERGING[place].tolist()) for place in (0, 127, 254))


def test_kernels_of_three_channels_are_drawn_in_colour() -> None:
    kernels = np.zeros((2, 3, 2, 2))
    kernels[0, 0, 0, 0], kernels[1, 2, 1, 1] = 1.0, -1.0
    sheet = body(kernel_sheet(kernels, "stem"))
    assert blocks(sheet, (255, 128, 128)) == blocks(sheet, (128, 128, 0)) == 80 * 80
    swapped = body(kernel_sheet(kernels, "stem", colour="BGR"))
    assert blocks(swapped, (128, 128, 255)) == blocks(swapped, (0, 128, 128)) == 80 * 80


@pytest.mark.parametrize(
    "shape",
    [(4, 1, 3, 3), (4, 2, 3, 3), (4, 2, 9), (4, 3, 9), (4, 6), (4, 6, 1, 1), (2, 1, 3, 3, 3), (2, 3, 3, 3, 3)],
)
def test_blue_is_below_zero_and_red_as_far_above(shape: tuple[int, ...]) -> None:
    kernels = np.zeros(shape)
    middle = tuple(length // 2 for length in shape)
    kernels[middle] = 2.0
    sheet = body(kernel_sheet(kernels, "conv"))
    assert blocks(sheet, RED) > 0
    assert blocks(sheet, BLUE) == 0
    assert blocks(sheet, WHITE) > 0
    negative = body(kernel_sheet(-kernels, "conv"))
    assert blocks(negative, BLUE) == blocks(sheet, RED)


def test_every_pair_has_a_tile() -> None:
    kernels = np.zeros((8, 5, 3, 3))
    kernels[:, :, 1, 1] = 1
    sheet = body(kernel_sheet(kernels, "conv"))
    side = (blocks(sheet, RED) / 40) ** 0.5
    assert side == int(side) >= 10
    assert blocks(sheet, WHITE) == blocks(sheet, RED) * 8


def test_too_many_pairs_are_drawn_as_norms() -> None:
    kernels = np.zeros((128, 100, 3, 3), np.float32)
    kernels[5, 7] = -1
    sheet = body(kernel_sheet(kernels, "conv"))
    top, left = np.argwhere((sheet == VIRIDIS[-1]).all(axis=-1))[0]
    assert blocks(sheet, tuple(VIRIDIS[-1].tolist())) == 8 * 11
    assert (top, left) == (14 + 5 * 8, 20 + 28 + 7 * 11)


def test_a_norm_is_the_root_of_the_sum_of_squares() -> None:
    kernels = np.zeros((128, 100, 3, 3), np.float32)
    kernels[0, 0], kernels[5, 7, 0, 0] = 1.0, 1.5  # norms 3 and 1.5
    sheet = body(kernel_sheet(kernels, "conv"))
    assert tuple(sheet[14 + 5 * 8 + 1, 20 + 28 + 7 * 11 + 1]) == tuple(VIRIDIS[128].tolist())


def test_kernels_that_are_all_zero_are_white() -> None:
    sheet = body(kernel_sheet(np.zeros((4, 1, 3, 3)), "conv"))
    assert blocks(sheet, WHITE) > 0
    assert blocks(sheet, BLUE) == 0


def test_a_matrix_beyond_the_paper_is_drawn_by_blocks() -> None:
    found = Blocks.of(np.full((5, 4401), -2.0), 2200)
    assert (found.values.shape, found.side) == ((5, 1467), (1, 3))
    np.testing.assert_allclose(found.values, 2.0)
    assert body(kernel_sheet(weight(5, 4401), "fc")).shape[1] < 2300


@pytest.mark.parametrize("shape", [(3,), (0, 3), (1, 1, 1, 1, 1, 1)])
def test_what_is_no_kernel_has_no_picture(shape: tuple[int, ...]) -> None:
    with pytest.raises(NotAcceptable, match="no picture"):
        kernel_sheet(np.zeros(shape), "odd")


def test_what_is_folded_is_said_and_the_same_kernels_give_the_same_bytes() -> None:
    kernels = weight(4, 3, 3, 3)
    assert kernel_sheet(kernels, "norm", "folded") == kernel_sheet(kernels, "norm", "folded")
    assert kernel_sheet(kernels, "norm", "folded") != kernel_sheet(kernels, "norm")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
@pytest.mark.parametrize("shape", [(2, 3, 2, 2), (2, 2), (2, 1, 2, 2), (128, 128, 3, 3)])
def test_odd_numbers_have_a_picture(shape: tuple[int, ...], value: float) -> None:
    assert body(kernel_sheet(np.full(shape, value), "conv")).size
