"""Large JPEGs are decoded smaller, and count for as much as that takes."""

import math
from io import BytesIO

import pytest
from PIL import Image

from service.errors import UnreadablePicture
from service.inference.contract.card import InputCard
from tests.service.inference.inputs.picture_files import Spy, card, difference, encoded, oriented, read, smooth


def held(data: bytes, wanted: InputCard) -> int:
    spy = Spy()
    read(data, wanted, budget=spy)
    (pixels,) = spy.asked
    return pixels


@pytest.mark.parametrize("size", [(1600, 1200), (801, 607)])
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_drafted_jpeg_is_close_to_the_whole_one(size: tuple[int, int], fit: str) -> None:
    data = encoded(smooth(*size), "JPEG", quality=90)
    wanted = card(32, 24, fit=fit)
    whole = read(encoded(Image.open(BytesIO(data))), wanted, max_pixels=10**7)
    assert difference(read(data, wanted, max_pixels=10**7), whole) < 1


@pytest.mark.parametrize(
    ("size", "target", "fit", "reduced"),
    [
        ((800, 400), (50, 25), "stretch", (100, 50)),
        ((800, 400), (50, 26), "stretch", (200, 100)),
        ((800, 400), (25, 25), "stretch", (100, 50)),
        ((800, 400), (50, 50), "crop", (200, 100)),
        ((800, 400), (50, 50), "pad", (100, 50)),
        ((800, 400), (500, 500), "pad", (800, 400)),
    ],
)
def test_draft_is_as_small_as_twice_the_target_allows(
    size: tuple[int, int], target: tuple[int, int], fit: str, reduced: tuple[int, int]
) -> None:
    wanted = card(target[1], target[0], fit=fit)
    assert held(encoded(smooth(*size), "JPEG"), wanted) == math.prod(reduced)


def test_draft_of_a_picture_on_its_side_thinks_of_the_upright_target() -> None:
    wide = card(25, 50)
    assert held(oriented(smooth(800, 400), 6, "JPEG"), wide) == 100 * 50


def test_formats_without_draft_count_in_full() -> None:
    assert held(encoded(smooth(80, 40)), card()) == 80 * 40


def test_progressive_jpeg_counts_in_full_for_its_coefficients() -> None:
    assert held(encoded(smooth(800, 400), "JPEG", progressive=True), card()) == 800 * 400


def test_jpeg_of_one_component_a_scan_counts_in_full() -> None:
    data = encoded(smooth(800, 400), "JPEG")
    start = data.index(b"\xff\xda")
    one_by_one = data[: start + 2] + bytes([0, 8, 1, 1, 0, 0, 63, 0]) + data[start + 14 :]
    spy = Spy()
    with pytest.raises(UnreadablePicture):
        read(one_by_one[:1000] + b"\xff\xda", card(), budget=spy)
    assert spy.asked == [800 * 400]


def test_jpeg_of_endlessly_many_scans_is_refused() -> None:
    data = encoded(smooth(80, 40), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(UnreadablePicture, match=r"image 4: .*scans"):
        read(data[:-2] + data[last:-2] * 1000 + b"\xff\xd9", index=4)
