import logging
import math
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from service.errors import TooLarge, Unprocessable, UnreadablePicture
from service.inference.contract.card import InputCard
from service.inference.inputs.budget import PixelBudget
from service.inference.inputs.reading import read_picture

Pixels = NDArray[np.uint8]

MAX_PIXELS = 1_000_000
# The same method turns upright pixels into stored ones of that orientation.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def card(height: int = 8, width: int = 8, **fields: Any) -> InputCard:
    colour = fields.setdefault("colour", "RGB")
    return InputCard.model_validate(
        {
            "name": "pixels",
            "kind": "image",
            "size": (height, width),
            "channels": 1 if colour == "GREY" else 3,
            "layout": "NHWC",
            "dtype": "uint8",
            **fields,
        }
    )


def encoded(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


def read(data: bytes, wanted: InputCard | None = None, **options: Any) -> NDArray[np.generic]:
    return read_picture(data, wanted or card(), **{"max_pixels": MAX_PIXELS, **options})


def smooth(width: int, height: int) -> Image.Image:
    """A picture without symmetry, whose colours change slowly."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    red, green = 255 * x / width, 255 * y / height
    blue = 127 + 120 * np.sin(7 * x / width + 3 * y / height)
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def oriented(image: Image.Image, orientation: int, format_: str, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    method = STORED[orientation]
    return encoded(image.transpose(method) if method is not None else image, format_, exif=exif, **options)


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG made by hand; `rows` with their filter bytes, `chunks` between header and pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def difference(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


# The array


@pytest.mark.parametrize("format_", ["PNG", "BMP", "WEBP"])
def test_picture_of_the_right_size_keeps_every_pixel(format_: str) -> None:
    pixels = noise(8, 8, 3)
    data = encoded(Image.fromarray(pixels), format_, **({"lossless": True} if format_ == "WEBP" else {}))
    np.testing.assert_array_equal(read(data), pixels)


def test_grey_picture_of_the_right_size_keeps_every_pixel() -> None:
    pixels = noise(28, 28)
    np.testing.assert_array_equal(read(encoded(Image.fromarray(pixels)), card(28, 28, colour="GREY"))[:, :, 0], pixels)


def test_gif_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    pixels = read(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert (pixels == (255, 0, 0)).all()


def test_jpeg_is_decoded() -> None:
    image = smooth(64, 48)
    assert difference(read(encoded(image, "JPEG", quality=95), card(48, 64)), np.asarray(image)) < 2


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("colour", ["RGB", "BGR", "GREY"])
def test_array_has_the_cards_shape_dtype_and_order(colour: str, layout: str, dtype: str) -> None:
    wanted = card(6, 9, colour=colour, layout=layout, dtype=dtype)
    image = Image.fromarray(noise(6, 9, 3))
    pixels = read(encoded(image), wanted)
    expected = np.asarray(image.convert("L"))[:, :, None] if colour == "GREY" else np.asarray(image)
    expected = expected[:, :, ::-1] if colour == "BGR" else expected
    np.testing.assert_array_equal(pixels, expected.transpose(2, 0, 1) if layout == "NCHW" else expected)
    assert (pixels.shape, pixels.dtype) == (wanted.shape, np.dtype(dtype))
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


def test_float_input_is_scaled_and_normalised_in_the_cards_colour_order() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    wanted = card(1, 1, colour="BGR", layout="NCHW", dtype="float32", scale=1 / 255, mean=mean, std=std)
    pixels = read(encoded(Image.new("RGB", (1, 1), (255, 51, 0))), wanted)
    np.testing.assert_allclose(
        pixels.astype(float).ravel(), [(0 - 0.1) / 0.5, (0.2 - 0.2) / 0.25, (1 - 0.3) / 0.125], atol=1e-6
    )


@pytest.mark.parametrize("kind", ["signal", "volume", "tensor"])
def test_card_that_wants_no_picture_is_refused(kind: str) -> None:
    size = {"signal": (8,), "volume": (8, 8, 8), "tensor": (8, 8)}[kind]
    wanted = InputCard.model_validate(
        {"name": "x", "kind": kind, "size": size, "channels": 1, "layout": "NHWC", "dtype": "float32"}
    )
    with pytest.raises(Unprocessable, match=kind):
        read(encoded(smooth(8, 8)), wanted)


# Fitting


def test_stretch_brings_in_the_whole_picture_with_antialias() -> None:
    image = smooth(28, 50)
    expected = np.asarray(image.resize((10, 20), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(read(encoded(image), card(20, 10)), expected)


@pytest.mark.parametrize("resample", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_resample_is_the_cards(resample: str) -> None:
    image = Image.fromarray(noise(20, 20, 3))
    expected = np.asarray(image.resize((9, 9), Image.Resampling[resample.upper()]))
    np.testing.assert_array_equal(read(encoded(image), card(9, 9, resample=resample)), expected)


def test_much_larger_picture_comes_close_to_the_filter_alone() -> None:
    image = smooth(900, 700)
    expected = np.asarray(image.resize((20, 20), Image.Resampling.BILINEAR))
    assert difference(read(encoded(image), card(20, 20)), expected) < 0.5


@pytest.mark.parametrize("turned", [False, True])
def test_crop_takes_the_centre(turned: bool) -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 200
    cropped = read(encoded(Image.fromarray(pixels.transpose(1, 0, 2) if turned else pixels)), card(10, 10, fit="crop"))
    assert (cropped == 200).all()


def test_pad_puts_black_around_the_whole_picture() -> None:
    padded = read(encoded(Image.new("RGB", (40, 20), "white")), card(20, 20, fit="pad"))
    assert (padded[5:15] == 255).all()
    assert (padded[:5] == 0).all()
    assert (padded[15:] == 0).all()


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (500, 1), (1, 500), (3, 2), (7, 700)])
def test_any_proportions_can_be_fitted(size: tuple[int, int], fit: str) -> None:
    pixels = read(encoded(Image.new("RGB", size, "white")), card(28, 20, fit=fit))
    assert pixels.shape == (28, 20, 3)
    assert pixels.max() == 255


# Turning upright


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(("size", "most"), [((8, 6), 0), ((16, 12), 1), ((160, 120), 4)])
def test_orientation_is_honoured(orientation: int, size: tuple[int, int], most: int) -> None:
    upright = smooth(*size)
    wanted = card(6, 8)
    expected = read(encoded(upright), wanted)
    for format_ in ("PNG", "WEBP"):
        options = {"lossless": True} if format_ == "WEBP" else {}
        turned = read(oriented(upright, orientation, format_, **options), wanted)
        # A larger picture is filtered before it is turned: rows and columns, ends and beginnings round differently.
        assert np.abs(turned.astype(int) - expected.astype(int)).max() <= most


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_orientation_of_a_drafted_jpeg_is_honoured(orientation: int, fit: str) -> None:
    upright = smooth(803, 401)
    wanted = card(20, 60, fit=fit)
    data = oriented(upright, orientation, "JPEG", quality=95)
    assert difference(read(data, wanted), read(encoded(upright), wanted)) < 2


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0rubbish", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_damaged_exif_says_nothing_and_warns_nobody(exif: bytes) -> None:
    expected = read(encoded(smooth(8, 8), "JPEG"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pixels = read(encoded(smooth(8, 8), "JPEG", exif=exif))
    np.testing.assert_array_equal(pixels, expected)
    assert caught == []


def test_animation_chunk_that_pillow_warns_of_is_read_in_silence() -> None:
    data = png(8, 8, 8, 0, b"\0" * 72, (b"acTL", bytes(8)))
    with pytest.warns(UserWarning, match="APNG"):
        Image.open(BytesIO(data))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert (read(data) == 0).all()
    assert caught == []


# Colours and transparency


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    pixels = read(encoded(Image.fromarray(values)), card(colour="GREY"))[:, :, 0]
    assert np.abs(pixels.astype(float) - values / 257).max() <= 1


def test_16_bit_colour_is_scaled() -> None:
    row = struct.pack(">3H", 65535, 257 * 100, 0)
    assert read(png(1, 1, 16, 2, b"\0" + row), card(1, 1)).ravel().tolist() == [255, 100, 0]


def test_cmyk_jpeg_as_adobe_writes_it_inverted() -> None:
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert difference(read(encoded(cmyk, "JPEG", quality=95)), np.full((8, 8, 3), (255, 0, 0))) < 3


def test_one_bit_picture() -> None:
    checks = (np.indices((8, 8)).sum(axis=0) % 2 * 255).astype(np.uint8)
    np.testing.assert_array_equal(read(encoded(Image.fromarray(checks).convert("1")))[:, :, 2], checks)


def test_palette_picture() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    for format_ in ("PNG", "GIF", "BMP"):
        assert (read(encoded(image, format_)) == (10, 20, 30)).all()


def in_palette(**options: Any) -> bytes:
    image = Image.fromarray((np.arange(64).reshape(8, 8) % 2).astype(np.uint8))
    image.putpalette([0, 0, 0, 10, 20, 30])
    return encoded(image, **options)


TRANSPARENT_AT_EVEN = {
    "palette": lambda: in_palette(transparency=b"\0\xff"),
    "gif": lambda: in_palette(format_="GIF", transparency=0),
    "grey key": lambda: png(8, 8, 8, 0, (b"\0" + b"\5\x64" * 4) * 8, (b"tRNS", b"\0\5")),
    "16-bit grey key": lambda: png(8, 8, 16, 0, (b"\0" + b"\5\x07\x64\0" * 4) * 8, (b"tRNS", b"\5\x07")),
    "colour key": lambda: png(8, 8, 8, 2, (b"\0" + b"\5\6\7\x64\0\0" * 4) * 8, (b"tRNS", b"\0\5\0\6\0\7")),
    "16-bit colour key": lambda: png(
        8, 8, 16, 2, (b"\0" + b"\5\0\6\0\7\0\x64\0\0\0\0\0" * 4) * 8, (b"tRNS", b"\5\0\6\0\7\0")
    ),
    "1-bit key": lambda: png(8, 8, 1, 0, b"\0\x55" * 8, (b"tRNS", b"\0\0")),
    "grey and alpha": lambda: png(8, 8, 8, 4, (b"\0" + b"\x07\0\x64\xff" * 4) * 8),
    "colour and alpha": lambda: png(8, 8, 8, 6, (b"\0" + b"\0\0\0\0\x64\0\0\xff" * 4) * 8),
}


@pytest.mark.parametrize("make", TRANSPARENT_AT_EVEN.values(), ids=TRANSPARENT_AT_EVEN)
@pytest.mark.parametrize("colour", ["RGB", "GREY"])
def test_what_is_transparent_is_white(make: Callable[[], bytes], colour: str) -> None:
    data = make()
    pixels = read(data, card(colour=colour)).astype(int)
    assert (pixels[:, 0::2] == 255).all()
    assert (pixels[:, 1::2].min() < 255) == (make is not TRANSPARENT_AT_EVEN["1-bit key"])


def test_half_transparent_is_mixed_with_white() -> None:
    pixels = read(encoded(Image.new("RGBA", (8, 8), (100, 0, 0, 51))))
    assert np.abs(pixels.astype(int) - (224, 204, 204)).max() <= 1


# Drafts


class Spy(PixelBudget):
    """Records what is asked of it."""

    def __init__(self) -> None:
        super().__init__(10**9)
        self.asked: list[int] = []

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        self.asked.append(pixels)
        with super().hold(pixels):
            yield


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


# Refusals


def test_too_many_pixels_are_refused_with_index_and_both_numbers() -> None:
    data = png(11_000, 11_000, 1, 0, (b"\0" + bytes(1375)) * 11_000)
    assert len(data) < 50_000
    with pytest.raises(TooLarge, match=r"image 7: .*121000000 .*100000000"):
        read(data, max_pixels=100_000_000, index=7)


def test_too_many_pixels_are_refused_before_anything_is_decoded() -> None:
    spy = Spy()
    for format_ in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        with pytest.raises(TooLarge, match=r"2500 .*2499"):
            read(encoded(smooth(50, 50), format_), max_pixels=2499, budget=spy)
        read(encoded(smooth(50, 50), format_), max_pixels=2500)
    assert spy.asked == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "image 2: zero bytes"),
        (b"just some words", "no picture of a known format; known are JPEG, PNG, WebP, GIF, BMP"),
        (b"8BPS\0\1" + bytes(100), "no picture of a known format"),
        (b"RIFF\0\0\0\0WAVEfmt " + bytes(100), "no picture of a known format"),
        (b"\x89PNG\r\n\x1a\n", "begins like a PNG"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "begins like a JPEG"),
        (b"GIF89a", "begins like a GIF"),
        (b"BM", "begins like a BMP"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "begins like a WebP"),
    ],
)
def test_reason_says_what_is_wrong_and_with_which(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadablePicture, match=reason) as caught:
        read(data, index=2)
    assert caught.value.index == 2


@pytest.mark.parametrize("format_", ["TIFF", "PPM", "ICO", "TGA", "JPEG2000"])
def test_other_formats_that_pillow_knows_are_refused(format_: str) -> None:
    with pytest.raises(UnreadablePicture, match="no picture of a known format"):
        read(encoded(smooth(64, 64), format_))


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_truncated_picture_is_refused(format_: str) -> None:
    data = encoded(Image.fromarray(noise(64, 64, 3)), format_)
    with pytest.raises(UnreadablePicture, match=r"truncated|damaged"):
        read(data[: len(data) * 2 // 3], index=1)


def test_truncated_jpeg_is_called_truncated() -> None:
    data = encoded(Image.fromarray(noise(64, 64, 3)), "JPEG")
    with pytest.raises(UnreadablePicture, match="image 0: the JPEG is truncated"):
        read(data[: len(data) * 2 // 3])


def array_or_refusal(data: bytes, wanted: InputCard) -> None:
    try:
        pixels = read(data, wanted, max_pixels=100_000)
    except (UnreadablePicture, TooLarge):
        return
    assert (pixels.shape, pixels.dtype) == (wanted.shape, np.dtype(wanted.dtype))


CARDS = st.builds(
    card,
    st.integers(1, 30),
    st.integers(1, 30),
    colour=st.sampled_from(["RGB", "BGR", "GREY"]),
    layout=st.sampled_from(["NHWC", "NCHW"]),
    dtype=st.sampled_from(["uint8", "float16", "float32"]),
    fit=st.sampled_from(["stretch", "crop", "pad"]),
    resample=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
)
BEGINNINGS = st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBPVP8X"])
SEEDS = [
    encoded(smooth(60, 40), "JPEG"),
    oriented(smooth(60, 40), 6, "JPEG", progressive=True),
    encoded(smooth(60, 40).convert("CMYK"), "JPEG"),
    encoded(smooth(20, 10)),
    encoded(smooth(20, 10).convert("P"), transparency=3),
    encoded(Image.fromarray(noise(10, 10).astype(np.uint16) * 200)),
    oriented(smooth(20, 10), 8, "PNG"),
    encoded(smooth(20, 10), "GIF", transparency=1),
    encoded(smooth(20, 10), "WEBP"),
    encoded(smooth(20, 10).convert("RGBA"), "WEBP", lossless=True),
    encoded(smooth(20, 10), "BMP"),
    encoded(smooth(20, 10).convert("P"), "BMP"),
]


@given(BEGINNINGS, st.binary(max_size=200), CARDS)
def test_any_bytes_give_an_array_or_a_refusal(beginning: bytes, rest: bytes, wanted: InputCard) -> None:
    array_or_refusal(beginning + rest, wanted)


@settings(max_examples=500)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=8), CARDS)
def test_mutated_pictures_give_an_array_or_a_refusal(
    data: bytes, changes: list[tuple[int, int]], wanted: InputCard
) -> None:
    mutated = bytearray(data)
    for place, value in changes:
        mutated[place % len(mutated)] = value
    array_or_refusal(bytes(mutated), wanted)


@given(st.sampled_from(SEEDS), st.integers(0, 5000), st.binary(max_size=20), CARDS)
def test_cut_and_spliced_pictures_give_an_array_or_a_refusal(
    data: bytes, place: int, extra: bytes, wanted: InputCard
) -> None:
    cut = place % len(data)
    array_or_refusal(data[:cut] + extra, wanted)
    array_or_refusal(data[:cut] + extra + data[cut:], wanted)


def test_damaged_pictures_give_their_pixels_back() -> None:
    budget = PixelBudget(100 * 100)
    data = encoded(Image.fromarray(noise(100, 100, 3)))
    for _ in range(3):
        with pytest.raises(UnreadablePicture):
            read(data[: len(data) // 2], budget=budget)
    assert read(data, budget=budget).shape == (8, 8, 3)


def test_pillow_says_nothing_above_debug(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for data in SEEDS:
            read(data)
    assert caplog.records == []
