import io
import math
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from service.errors import NotAcceptable
from service.inference.pictures.curves import AXIS, LINE
from service.inference.pictures.lettering import INK, PAPER
from service.inference.pictures.rendering import View, _caption, contact_sheet
from service.inference.pictures.scale import NOT_FINITE, Scale
from service.inference.pictures.viridis import VIRIDIS
from tests.service.inference.small import Array, weight

LOWEST, HIGHEST = tuple(VIRIDIS[0].tolist()), tuple(VIRIDIS[-1].tolist())


def decoded(png: bytes) -> Array:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def below_header(png: bytes) -> Array:
    """The sheet without its title and colour bar."""
    return decoded(png)[86:]


def blocks(sheet: Array, colour: tuple[int, ...]) -> int:
    """Pixels of exactly this colour."""
    return int((sheet == colour).all(axis=-1).sum())


def colours(sheet: Array) -> int:
    """How many there are."""
    return len(np.unique(sheet @ [65536, 256, 1]))


def test_one_scale_runs_over_all_channels() -> None:
    maps = np.zeros((4, 8, 8), np.float32)
    maps[1, 0, 0], maps[3, 7, 7] = 1.0, -1.0
    sheet = below_header(contact_sheet(maps, "relu"))
    assert blocks(sheet, HIGHEST) == blocks(sheet, LOWEST) == 20 * 20
    assert blocks(sheet, tuple(VIRIDIS[128].tolist())) == (4 * 64 - 2) * 20 * 20


def test_each_value_is_a_block_of_one_colour() -> None:
    """Upscaled without blur: apart from paper and numbers there are just the colours of the values."""
    maps = np.linspace(0, 1, 18, dtype=np.float32).reshape(2, 3, 3)
    sheet = below_header(contact_sheet(maps, "relu"))
    expected = VIRIDIS[np.rint(np.linspace(0, 1, 18) * 255).astype(int)]
    sizes = {blocks(sheet, tuple(colour.tolist())) for colour in expected}
    assert sizes == {53 * 53}


@pytest.mark.parametrize("shape", [(3, 224, 224), (64, 28, 28), (512, 7, 7), (100, 13, 17)])
def test_sheet_is_nearly_square_and_its_tiles_keep_their_proportions(shape: tuple[int, int, int]) -> None:
    png = contact_sheet(weight(*shape), "relu")
    height, width = below_header(png).shape[:2]
    assert 0.5 < height / width < 2
    assert colours(decoded(png)) > 200


def test_every_channel_has_a_tile() -> None:
    count = 512
    maps = np.zeros((count, 4, 4), np.float32)
    maps[:, 1, 1] = 1
    sheet = below_header(contact_sheet(maps, "relu"))
    zoom = math.isqrt(blocks(sheet, HIGHEST) // count)
    assert zoom > 1
    assert blocks(sheet, HIGHEST) == count * zoom**2
    assert blocks(sheet, LOWEST) == 15 * count * zoom**2


def test_single_value_above_nothing_is_seen() -> None:
    maps = np.zeros((16, 32, 32), np.float32)
    maps[3, 4, 5] = 2.0
    assert blocks(below_header(contact_sheet(maps, "relu")), HIGHEST) > 0


def test_few_outliers_do_not_darken_the_rest() -> None:
    maps = weight(16, 32, 32)
    bright = maps.copy()
    bright[0, 0, 0] = 1e6
    assert colours(below_header(contact_sheet(bright, "relu"))) > 200


@pytest.mark.parametrize("value", [0.0, -3.5, 1e30])
@pytest.mark.parametrize("shape", [(2, 5, 5), (5,)])
def test_constant_values_have_a_picture(value: float, shape: tuple[int, ...]) -> None:
    sheet = below_header(contact_sheet(np.full(shape, value), "dead"))
    assert blocks(sheet, LOWEST) > 0
    assert blocks(sheet, HIGHEST) == 0


@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(2, 5, 5), (50,)])
def test_what_is_not_finite_stands_out_and_leaves_the_scale_alone(lost: float, shape: tuple[int, ...]) -> None:
    values = np.linspace(0, 1, 50).reshape(shape)
    whole = below_header(contact_sheet(values, "conv"))
    values.flat[7] = lost
    sheet = below_header(contact_sheet(values, "conv"))
    assert blocks(sheet, NOT_FINITE) > 1000
    assert blocks(sheet, HIGHEST) == blocks(whole, HIGHEST) > 0


def test_nothing_finite_at_all_has_a_picture() -> None:
    sheet = below_header(contact_sheet(np.full((1, 2, 2), np.nan), "broken"))
    assert blocks(sheet, NOT_FINITE) == 160 * 160


def test_bars_are_as_long_as_their_values() -> None:
    sheet = below_header(contact_sheet(np.array([1.0, -0.5, 0.25]), "dense"))
    coloured = (sheet != PAPER).any(axis=-1) & (sheet.std(axis=-1) > 15)
    lengths = [coloured[:, 20 + 36 * index + 10].sum() for index in range(3)]
    assert lengths[0] / lengths[1] == pytest.approx(2, abs=0.1)
    assert lengths[0] / lengths[2] == pytest.approx(4, abs=0.2)
    top = [int(coloured[:, 20 + 36 * index + 10].argmax()) for index in range(3)]
    assert top[0] < top[2] < top[1]


@pytest.mark.parametrize("count", [1, 10, 100, 1000, 25088])
def test_every_feature_has_a_bar(count: int) -> None:
    sheet = below_header(contact_sheet(np.ones(count), "dense"))
    one = below_header(contact_sheet(np.ones(1), "dense"))
    assert blocks(sheet, LOWEST) % count == 0
    assert blocks(sheet, LOWEST) >= count * 30
    assert sheet.shape[1] <= max(one.shape[1], 1200)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint8, np.int64, np.bool_])
def test_every_type_of_real_number_has_a_picture(dtype: type) -> None:
    values: Array = (weight(3, 4, 4) > 0).astype(dtype)
    assert blocks(below_header(contact_sheet(values, "relu")), HIGHEST) > 0


def test_huge_numbers_have_a_picture_sorted_by_activity() -> None:
    values = np.full((2, 3, 3), np.finfo(np.float64).max / 2)
    assert decoded(contact_sheet(values, "conv", View(sort="activity"))).ndim == 3


@given(
    arrays(
        np.float64,
        array_shapes(min_dims=1, max_dims=1, max_side=40) | array_shapes(min_dims=2, max_dims=4, max_side=6),
    ),
    st.text(max_size=30),
    st.builds(View, st.sampled_from(["layer", "channel"]), st.sampled_from(["activity", None])),
)
def test_any_numbers_have_a_picture_under_any_name(values: Array, name: str, view: View) -> None:
    assert decoded(contact_sheet(values, name, view)).ndim == 3


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(()),
        np.zeros((1, 2, 3, 4, 5)),
        np.zeros((0, 3)),
        np.zeros((0, 3, 3)),
        np.zeros((3, 0, 3)),
        np.zeros(0),
        np.zeros((1, 2, 2), complex),
        np.array(["a", "b"]),
    ],
)
def test_other_ranks_and_kinds_have_no_picture(values: Array) -> None:
    with pytest.raises(NotAcceptable, match="'embedding' has no picture"):
        contact_sheet(values, "embedding")


@pytest.mark.parametrize("shape", [(32, 14, 14), (300,)])
def test_same_values_give_the_same_bytes(shape: tuple[int, ...]) -> None:
    assert contact_sheet(weight(*shape), "relu") == contact_sheet(weight(*shape), "relu")


def test_name_and_channel_numbers_are_written() -> None:
    assert contact_sheet(weight(4, 8, 8), "conv1") != contact_sheet(weight(4, 8, 8), "conv2")
    flat = np.zeros((2, 40, 40))
    sheet = below_header(contact_sheet(flat, "conv1"))
    written = (sheet != PAPER).any(axis=-1) & (sheet != LOWEST).any(axis=-1)
    assert written.any()


def test_long_names_keep_their_ends_and_stay_on_the_sheet() -> None:
    maps = weight(4, 8, 8)
    short, long = (decoded(contact_sheet(maps, name)) for name in ("a", "/model/blocks/" * 50 + "relu"))
    assert short.shape == long.shape
    assert (long[20:40, -60:] != PAPER).any()
    other = decoded(contact_sheet(maps, "/model/blocks/" * 50 + "gelu"))
    assert (long != other).any()
    assert (long[:, -20:] == PAPER).all()


def test_scale_tells_its_range() -> None:
    assert str(Scale.of(np.array([-1.23456, 7.0, np.nan]))) == "-1.23 to 7"
    assert str(Scale.of(np.array([-0.0, -0.0]))) == "0 to 0"
    assert Scale.of(np.array([np.nan, np.inf, 1.0])) == Scale(1.0, 1.0, not_finite=2)
    assert Scale.of(np.array([np.nan])) == Scale(0.0, 0.0, not_finite=1)


@pytest.mark.parametrize("extreme", [np.finfo(np.float64).max, np.finfo(np.float64).tiny])
def test_scale_copes_with_the_ends_of_the_range(extreme: float) -> None:
    values = np.array([-extreme, 0, extreme])
    np.testing.assert_allclose(Scale.of(values).fractions(values), [0, 0.5, 1])


@pytest.mark.parametrize("shape", [(30_001,), (30_001, 1, 1), (1, 10_000, 10_000)])
def test_more_than_anybody_could_look_at_is_no_picture(shape: tuple[int, ...]) -> None:
    with pytest.raises(NotAcceptable, match="too large"):
        contact_sheet(np.broadcast_to(np.float32(1), shape), "wide")


def test_each_channel_may_have_a_scale_of_its_own() -> None:
    maps = np.zeros((2, 4, 4))
    maps[0, 0, 0], maps[1, 3, 3] = 1.0, 1000.0
    together, alone = (contact_sheet(maps, "relu", View(scale)) for scale in ("layer", "channel"))
    block = blocks(below_header(together), HIGHEST)
    assert block > 0
    assert blocks(below_header(alone), HIGHEST) == 2 * block


def assert_same_body(one: bytes, other: bytes) -> None:
    """Equal below the header, whose length decides how wide the paper is."""
    first, second = below_header(one), below_header(other)
    width = min(first.shape[1], second.shape[1])
    np.testing.assert_array_equal(first[:, :width], second[:, :width])
    assert all((sheet[:, width:] == PAPER).all() for sheet in (first, second))


def test_most_active_channel_comes_first_and_keeps_its_number() -> None:
    maps = np.zeros((3, 4, 4))
    maps[2], maps[0, 0] = -1.0, 0.5
    expected = contact_sheet(maps[[2, 0, 1]], "relu", View(numbers=[2, 0, 1]))
    assert_same_body(contact_sheet(maps, "relu", View(sort="activity")), expected)


def test_what_is_not_finite_counts_as_most_active() -> None:
    values = np.array([5.0, 1.0, np.nan])
    expected = contact_sheet(values[[2, 0, 1]], "head", View(numbers=[2, 0, 1]))
    assert_same_body(contact_sheet(values, "head", View(sort="activity")), expected)


def test_channels_bear_their_true_numbers() -> None:
    maps = weight(2, 8, 8)
    assert contact_sheet(maps, "relu", View(numbers=[8, 9])) != contact_sheet(maps, "relu")


def test_a_volume_is_drawn_as_its_middle_slice() -> None:
    volume = weight(3, 5, 8, 8)
    whole, middle = contact_sheet(volume, "conv"), contact_sheet(volume[:, 2], "conv")
    changed = volume.copy()
    changed[:, [0, 1, 3, 4]] = 0
    assert contact_sheet(changed, "conv") == whole
    assert_same_body(whole, middle)
    assert decoded(whole).shape != decoded(middle).shape  # as the header says which slice it is


def header(png: bytes) -> Array:
    return decoded(png)[:86]


@pytest.mark.parametrize("scale", ["layer", "channel"])
@pytest.mark.parametrize("shape", [(2, 6, 6), (2, 50)])
def test_what_is_not_finite_is_said_in_the_header(scale: Literal["layer", "channel"], shape: tuple[int, ...]) -> None:
    values = np.linspace(0, 1, int(np.prod(shape))).reshape(shape)
    assert blocks(header(contact_sheet(values, "conv", View(scale))), NOT_FINITE) == 0
    values[1] = np.nan
    assert blocks(header(contact_sheet(values, "conv", View(scale))), NOT_FINITE) > 30


def test_a_channel_of_nothing_finite_is_not_captioned_by_a_range() -> None:
    lost = np.full((3, 3), np.nan)
    assert _caption(7, Scale.of(lost), lost) == "7   not finite"
    assert _caption(7, Scale.of(np.zeros(3)), np.zeros(3)) == "7   0 to 0"


def test_zero_is_marked_on_the_colour_bar_only_between_the_ends() -> None:
    def marks(low: float, high: float) -> int:
        values = np.linspace(low, high, 36).reshape(1, 6, 6)
        return blocks(header(contact_sheet(values, "conv"))[64:68], INK)  # below the bar and its two numbers

    assert marks(-1, 1) == 4
    assert [marks(*ends) for ends in ((0.1, 0.9), (0, 1), (-1, 0), (-0.9, -0.1))] == [0] * 4


def test_a_zero_line_is_drawn_where_the_scale_only_touches_zero() -> None:
    touching = below_header(contact_sheet(np.linspace(0, 1, 50)[np.newaxis], "conv"))
    above = below_header(contact_sheet(np.linspace(0.5, 1, 50)[np.newaxis], "conv"))
    assert blocks(touching, AXIS) > 500
    assert blocks(above, AXIS) == 0


def test_a_long_curve_has_no_gaps_between_its_columns() -> None:
    steps = np.repeat(np.arange(20.0), 1000)[np.newaxis]
    through = drawn(below_header(contact_sheet(steps, "conv")))
    tops = [np.flatnonzero(column) for column in through.T if column.any()]
    for before, after in pairwise(tops):
        assert after.min() <= before.max() + 1
        assert before.min() <= after.max() + 1


def test_a_channel_in_which_one_number_is_lost_is_as_active_as_can_be() -> None:
    maps = np.zeros((2, 4, 4))
    maps[0] = 9.0
    maps[1, 2, 2] = np.nan
    expected = contact_sheet(maps[[1, 0]], "relu", View(numbers=[1, 0]))
    assert_same_body(contact_sheet(maps, "relu", View(sort="activity")), expected)


def drawn(sheet: Array) -> Array:
    """Which pixels a curve goes through."""
    through: Array = (sheet == LINE).all(axis=-1)
    return through


@pytest.mark.parametrize("length", [5, 1000, 5000])
def test_a_signal_rises_from_the_bottom_to_the_top(length: int) -> None:
    sheet = drawn(below_header(contact_sheet(np.linspace(0, 1, length)[np.newaxis], "conv")))
    heights, places = np.nonzero(sheet)
    assert np.corrcoef(heights, places)[0, 1] < -0.99
    assert heights.max() - heights.min() == 159
    assert places.max() - places.min() > 1090


def test_a_single_value_is_a_level_line_all_across() -> None:
    heights, places = np.nonzero(drawn(below_header(contact_sheet(np.array([[-1.0], [2.0]]), "pool"))))
    assert len(np.unique(heights)) == 2
    assert all(np.ptp(places[heights == height]) > 1090 for height in np.unique(heights))


def test_no_peak_of_a_long_signal_gets_lost() -> None:
    signal = np.zeros((1, 100_000))
    signal[0, 77_777] = 1.0
    heights, places = np.nonzero(drawn(below_header(contact_sheet(signal, "conv"))))
    assert heights.max() - heights.min() == 159
    assert places[heights == heights.min()] == pytest.approx(20 + 0.77777 * 1094, abs=2)


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_what_is_not_finite_stands_out_in_a_curve(lost: float) -> None:
    signal = np.ones((2, 50))
    signal[1, 7] = lost
    sheet = below_header(contact_sheet(signal, "conv"))
    assert blocks(sheet, NOT_FINITE) == 160
