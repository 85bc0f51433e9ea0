"""A picture file becomes the array that the card asks for."""

import struct
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.errors import Unprocessable
from service.inference.contract.card import InputCard
from tests.service.inference.inputs.picture_files import (
    STORED,
    card,
    difference,
    encoded,
    noise,
    oriented,
    png,
    read,
    smooth,
)


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
