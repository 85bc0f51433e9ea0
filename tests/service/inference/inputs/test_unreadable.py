"""What is no picture, or too large, or damaged, is refused; no bytes do worse."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import TooLarge, UnreadablePicture
from service.inference.contract.card import InputCard
from service.inference.inputs.budget import PixelBudget
from tests.service.inference.inputs.picture_files import Spy, card, encoded, noise, oriented, png, read, smooth


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
