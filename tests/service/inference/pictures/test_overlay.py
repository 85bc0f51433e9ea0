import io
from typing import Literal

import numpy as np
import pytest
from PIL import ExifTags, Image

from service.errors import TooLarge, UnreadablePicture
from service.inference.contract.card import InputCard
from service.inference.inputs.budget import LightOnly, PixelBudget, TooHeavy
from service.inference.inputs.reading import draw_on_picture, read_picture
from service.inference.pictures.overlay import Spacing, overlay

Fit = Literal["stretch", "crop", "pad"]
GREY = Image.new("RGB", (60, 40), (128, 128, 128))


def card(fit: Fit = "stretch", size: tuple[int, int] = (16, 16)) -> InputCard:
    return InputCard(
        name="x", kind="image", size=size, channels=1, colour="GREY", layout="NHWC", dtype="uint8", fit=fit
    )


def pixels(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.asarray(Image.open(io.BytesIO(png))).astype(int)


def spot(size: tuple[int, int], centre: tuple[int, int]) -> Image.Image:
    """A white disc of a seventh of the shorter side on black; `centre` across and down."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= (min(size) / 7) ** 2
    return Image.fromarray((inside * 255).astype(np.uint8)).convert("RGB")


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(200, 100), (100, 200), (160, 160), (90, 200)])
@pytest.mark.parametrize("target", [(32, 32), (24, 40)])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_what_the_model_saw_lies_where_it_is_in_the_upright_picture(
    fit: Fit, size: tuple[int, int], target: tuple[int, int], orientation: int
) -> None:
    exif, encoded = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = orientation
    spot(size, (size[0] * 45 // 100, size[1] * 60 // 100)).save(encoded, "PNG", exif=exif)
    wanted = card(fit, target)
    seen = read_picture(encoded.getvalue(), wanted, max_pixels=10**6)[..., 0].astype(np.float64)

    def draw(image: Image.Image) -> tuple[Image.Image, bytes]:
        return image, overlay(Image.new("RGB", image.size), seen, wanted)

    upright, drawn = draw_on_picture(encoded.getvalue(), draw, max_pixels=10**6, budget=PixelBudget(10**6))
    truth = np.asarray(upright.convert("L")).astype(float)
    strength = pixels(drawn).sum(axis=2).astype(float)
    for axis in (0, 1):
        centres = [(values.sum(axis=1 - axis) * np.arange(len(values.sum(axis=1 - axis)))).sum() / values.sum()
                   for values in (truth, strength)]  # fmt: skip
        assert abs(centres[0] - centres[1]) < 0.02 * max(size)


def test_the_overlay_has_the_size_of_the_picture_and_its_highest_value_is_yellow() -> None:
    values = np.zeros((3, 3))
    values[0, 2] = 5.0
    drawn = pixels(overlay(GREY, values, card()))
    assert drawn.shape == (40, 60, 3)
    red, green, blue = drawn[3, 55]
    assert red > 200
    assert green > 180
    assert blue < 80
    assert (drawn[35, 5] == 128).all()


@pytest.mark.parametrize("values", [np.zeros((2, 2)), np.full((2, 2), -1.0), np.full((2, 2), np.nan)])
def test_where_nothing_speaks_for_the_class_the_picture_stays_as_it_is(values: np.ndarray) -> None:
    assert (pixels(overlay(GREY, values, card())) == 128).all()


def test_what_speaks_against_the_class_is_left_as_it_is() -> None:
    drawn = pixels(overlay(GREY, np.array([[-5.0, 0.0, 1.0]]), card()))
    assert (drawn[:, :20] == 128).all()
    assert (drawn[:, 50:] != 128).any()


def test_what_was_cropped_away_is_dark() -> None:
    drawn = pixels(overlay(GREY, np.zeros((2, 2)), card("crop")))
    assert (drawn[:, :10] == 51).all()
    assert (drawn[:, 10:50] == 128).all()
    assert (drawn[:, 50:] == 51).all()


def test_a_picture_larger_than_a_tile_has_no_seams() -> None:
    values = np.arange(9.0).reshape(3, 3)
    wide = overlay(Image.new("RGB", (9000, 3)), values, card())
    high = overlay(Image.new("RGB", (3, 9000)), values.T, card())
    np.testing.assert_array_equal(pixels(wide), pixels(high).transpose(1, 0, 2))
    assert np.abs(np.diff(pixels(wide), axis=1)).max() <= 4


def test_a_picture_to_draw_on_is_held_to_the_limits() -> None:
    encoded = io.BytesIO()
    GREY.save(encoded, "PNG")
    with pytest.raises(TooLarge):
        draw_on_picture(encoded.getvalue(), lambda _: None, max_pixels=2399, budget=PixelBudget(10))
    with pytest.raises(UnreadablePicture, match="truncated"):
        draw_on_picture(encoded.getvalue()[:70], lambda _: None, max_pixels=2400, budget=PixelBudget(10))


class Noted(PixelBudget):
    """Notes what was held."""

    def __init__(self, pixels: int) -> None:
        super().__init__(pixels)
        self.held: list[int] = []

    def _take(self, share: int) -> None:
        self.held.append(share)
        super()._take(share)


@pytest.mark.parametrize(("mode", "turned", "copies"), [("RGB", 1, 1), ("RGB", 6, 2), ("L", 1, 2), ("RGBA", 1, 2)])
def test_the_budget_is_held_while_a_picture_is_decoded_and_not_while_it_is_drawn_on(
    mode: str, turned: int, copies: int
) -> None:
    exif, encoded = Image.Exif(), io.BytesIO()
    if turned > 1:
        exif[ExifTags.Base.Orientation] = turned
    GREY.convert(mode).save(encoded, "PNG", exif=exif)
    budget = Noted(5000)
    left = draw_on_picture(encoded.getvalue(), lambda _: budget._free, max_pixels=2400, budget=budget)
    assert (budget.held, left) == ([copies * 2400], 5000)


def test_a_light_picture_needs_no_budget_and_a_heavy_one_is_passed_on() -> None:
    encoded = io.BytesIO()
    GREY.save(encoded, "PNG")
    drawn = draw_on_picture(encoded.getvalue(), lambda image: image.size, max_pixels=2400, budget=LightOnly(2400))
    assert drawn == (60, 40)
    with pytest.raises(TooHeavy):
        draw_on_picture(encoded.getvalue(), lambda _: None, max_pixels=2400, budget=LightOnly(2399))


def test_the_picture_itself_is_not_painted_and_what_is_said_of_it_is_in_the_file() -> None:
    image = GREY.copy()
    drawn = overlay(image, np.ones((2, 2)), card(), text={"method": "cam", "label": "Stiefel \N{HIKING BOOT}"})
    assert (np.asarray(image) == 128).all()
    assert Image.open(io.BytesIO(drawn)).text == {"method": "cam", "label": "Stiefel \N{HIKING BOOT}"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [(1, 1), (7, 130), (9000, 3), (20000, 70)])
def test_any_picture_comes_back_pixel_by_pixel_where_there_is_nothing_to_paint(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    drawn = overlay(Image.fromarray(noise), np.zeros((3, 3)), card())
    np.testing.assert_array_equal(pixels(drawn), noise)


def test_the_places_of_a_map_lie_where_their_layer_sees() -> None:
    """Three places of 8 pixels in an input of 28: the pooling has left out the last four."""
    values = np.diag([0.0, 1.0, 0.0])
    spacing = Spacing(4 / 28, 8 / 28), Spacing(4 / 28, 8 / 28)
    black, wanted = Image.new("RGB", (28, 28)), card(size=(28, 28))
    for drawn, middle in ((overlay(black, values, wanted, spacing), 12), (overlay(black, values, wanted), 14)):
        strength = pixels(drawn).sum(axis=2)
        assert (strength[middle - 1 : middle + 1, middle - 1 : middle + 1] == strength.max()).all()
        assert (strength == strength.max()).sum() == 4
