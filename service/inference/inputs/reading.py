"""Bytes -> the array that the card asks for, within limits. Training's folders and the service both come this way."""

import math
import re
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from io import BytesIO
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service.errors import TooLarge, Unprocessable, UnreadablePicture
from service.inference.contract.card import InputCard
from service.inference.inputs.budget import LightOnly, PixelBudget, TooHeavy
from service.inference.inputs.normalising import normalised

Drawing = TypeVar("Drawing")

# Pillow's guard against huge pictures is one number for the whole process, warns from half way, and names no limit of
# ours. `read_picture` compares every header with its own `max_pixels` instead, before anything is decoded.
Image.MAX_IMAGE_PIXELS = None

_PILLOW_WARNINGS = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # an entry of warnings.filters

_FORMATS: dict[str, tuple[type[ImageFile], tuple[bytes, ...]]] = {
    "JPEG": (JpegImageFile, (b"\xff\xd8\xff",)),
    "PNG": (PngImageFile, (b"\x89PNG\r\n\x1a\n",)),
    "WebP": (WebPImageFile, (b"RIFF",)),
    "GIF": (GifImageFile, (b"GIF87a", b"GIF89a")),
    "BMP": (BmpImageFile, (b"BM",)),
}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset(method for orientation, method in _UPRIGHT.items() if orientation >= 5)

# Every scan of a progressive JPEG walks over the whole picture again, however few bytes it has. Encoders write about
# ten; a file of thousands would hold a thread for hours.
_MAX_SCANS = 64

# An even reduction by whole factors comes before the filter, down to this many times the target. It is four times
# faster for 12 megapixels and at most 4 of 255 off, and it keeps the filter's own tables small: for a picture
# 100,000,000 pixels wide and 1 high they would take gigabytes.
_REDUCING_GAP = 3.0


def read_picture(
    data: bytes, card: InputCard, *, max_pixels: int, budget: PixelBudget | LightOnly | None = None, index: int = 0
) -> NDArray[np.generic]:
    """Decode a JPEG, PNG, WebP, GIF (first frame) or BMP into one input of the model, told apart by content alone.

    The picture is turned upright (EXIF), laid on white where it is transparent, and fitted to `card.size`; one that
    already has that size keeps every pixel. The answer has shape `card.shape` and dtype `card.dtype`, is writable and
    C-contiguous: 0 to 255 for uint8, `(value * scale - mean) / std` for floats. `index` is its place in the request.

    `budget` is held while pixels are in memory, for as many as are decoded; its TooHeavy passes. Raises TooLarge above
    `max_pixels`,
    UnreadablePicture for bytes that cannot be decoded whole, Unprocessable when the card wants no picture.
    """
    if card.kind != "image":
        raise Unprocessable(f"the model takes a {card.kind}, not a picture")
    _hush_pillow()
    name, picture = _open(data, index)
    _check_limits(picture, data, max_pixels, index)
    size = picture.size
    try:
        seen = _draft(picture, card) if isinstance(picture, JpegImageFile) else picture.size
        with budget.hold(_pixels_held(picture, data, size)) if budget else nullcontext():
            return _array(_decode(picture, seen, card), card)
    except TooHeavy:
        raise
    except Exception as error:  # whatever hostile bytes make Pillow raise: OSError, SyntaxError, struct.error ...
        raise _unreadable(name, error, index) from error


def draw_on_picture(
    data: bytes, draw: Callable[[Image.Image], Drawing], *, max_pixels: int, budget: PixelBudget | LightOnly
) -> Drawing:
    """What `draw` makes of the picture at its own size: "RGB", upright (EXIF), laid on white where it is transparent.

    `budget` is held for its pixels while it is decoded, twice where it is also turned or converted; its TooHeavy
    passes. It is not held while `draw` is at work, which takes longer: whoever calls sees to it that few pictures are
    drawn on at a time. Raises TooLarge above `max_pixels`, UnreadablePicture, and what `draw` raises.
    """
    _hush_pillow()
    name, picture = _open(data, 0)
    _check_limits(picture, data, max_pixels, 0)
    with budget.hold(_pixels_held_upright(picture, data)):
        try:
            picture.load()
            turn = _turn(picture)
            image = _opaque(picture)
            image = (image if turn is None else image.transpose(turn)).convert("RGB")
        except Exception as error:  # as in read_picture
            raise _unreadable(name, error, 0) from error
        picture.close()
    return draw(image)


def _pixels_held_upright(picture: ImageFile, data: bytes) -> int:
    """As `_pixels_held`, and once more where there will be a copy, or there may be one."""
    plain = picture.mode == "RGB" and not picture.has_transparency_data
    turned = _turn(picture) is not None if isinstance(picture, JpegImageFile) else "exif" in picture.info
    copied = turned or not plain
    return _pixels_held(picture, data, picture.size) + copied * math.prod(picture.size)


def _unreadable(name: str, error: Exception, index: int) -> UnreadablePicture:
    reason = "is truncated" if "truncated" in str(error) else "is damaged, its pixels cannot be decoded"
    return UnreadablePicture(f"the {name} {reason}", index)


def _hush_pillow() -> None:
    """Pillow warns of what clients send, such as damaged EXIF; nobody here can act on it.

    `warnings.catch_warnings` swaps the filters of all threads and is no way out; so a filter for Pillow's own modules
    stays in place. It is looked for on each call, as whoever sets filters later (a test runner) puts them before it.
    """
    if warnings.filters[:1] != [_PILLOW_WARNINGS]:
        warnings.filterwarnings("ignore", module=_PILLOW_WARNINGS[3].pattern)


def _open(data: bytes, index: int) -> tuple[str, ImageFile]:
    """The format's name, and the picture with its header read and nothing decoded."""
    if not data:
        raise UnreadablePicture("zero bytes long", index)
    for name, (reader, beginnings) in _FORMATS.items():
        if data.startswith(beginnings) and (name != "WebP" or data[8:12] == b"WEBP"):
            try:
                return name, reader(BytesIO(data))
            except Exception as error:  # as in read_picture
                reason = f"begins like a {name}, but its header is damaged or truncated"
                raise UnreadablePicture(reason, index) from error
    raise UnreadablePicture(f"no picture of a known format; known are {', '.join(_FORMATS)}", index)


def _check_limits(picture: ImageFile, data: bytes, max_pixels: int, index: int) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        found = f"{width} × {height} = {width * height} pixels"
        raise TooLarge(f"image {index}: {found} are more than the limit of {max_pixels}")
    if isinstance(picture, JpegImageFile) and (scans := _scans(picture, data)) > _MAX_SCANS:
        raise UnreadablePicture(f"a JPEG of {scans} scans, more than the limit of {_MAX_SCANS}", index)


def _scans(picture: JpegImageFile, data: bytes) -> int:
    """How many passes over the picture a JPEG holds: one, unless it is progressive or brings its colours one by one."""
    behind = picture.fp.tell() if picture.fp else 0  # where the first scan's header ends, and its pixels begin
    header = 6 + 2 * picture.layers  # its length, with all components in the one scan
    whole = data[behind - header : behind - header + 2] == header.to_bytes(2, "big")
    return 1 if whole and "progressive" not in picture.info else 1 + data.count(b"\xff\xda", behind)


def _draft(picture: JpegImageFile, card: InputCard) -> tuple[float, float]:
    """Have a large JPEG decoded at a half, a quarter or an eighth, never below twice the target.

    Returns the (width, height) of the draft that the picture fills: drafts are rounded up to whole pixels.
    """
    width, height = _extent(picture.size, card, _turn(picture))
    drafted = picture.draft(None, (math.ceil(2 * width), math.ceil(2 * height)))
    return drafted[1][2:] if drafted else picture.size


def _pixels_held(picture: ImageFile, data: bytes, size: tuple[int, int]) -> int:
    """Pixels in memory while decoding; of a JPEG in several scans, libjpeg keeps the coefficients of the whole."""
    several = isinstance(picture, JpegImageFile) and _scans(picture, data) > 1
    return math.prod(size if several else picture.size)


def _decode(picture: ImageFile, seen: tuple[float, float], card: InputCard) -> Image.Image:
    """The upright picture at the card's size, "L" or "RGB"; as stored, it fills the (width, height) `seen`."""
    picture.load()
    turn = _turn(picture)
    image = _fitted(_opaque(picture), seen, card, turn)
    if turn is not None:
        image = image.transpose(turn)
    mode = "L" if card.colour == "GREY" else "RGB"
    return _on_black(image if image.mode == mode else image.convert(mode), card)


def _turn(picture: ImageFile) -> Image.Transpose | None:
    """What turns the picture upright; damaged EXIF says nothing. To find it, Pillow may load a PNG, but no JPEG."""
    try:
        return _UPRIGHT.get(picture.getexif().get(ExifTags.Base.Orientation) or 1)
    except Exception:  # as in read_picture; also an orientation that is no number
        return None


def _opaque(image: Image.Image) -> Image.Image:
    """The picture in 8 bits, "L" or "RGB", what is transparent in it laid on white."""
    if image.mode == "I;16":
        return _eight_bits(image)
    if image.has_transparency_data:
        return _on_white(image)
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """The high bytes of 16-bit grey, which is what Pillow takes of 16-bit colour; its own convert() clips at 255."""
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    if (clear := image.info.get("transparency")) is not None:
        grey[values == clear] = 255
    return Image.fromarray(grey)


def _on_white(image: Image.Image) -> Image.Image:
    clear = image.info.get("transparency")
    if isinstance(clear, tuple) and max(clear) > 255:  # a colour of 16 bits; of the pixels only the high bytes are left
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    layered = image if image.mode == "RGBA" else image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(layered, mask=layered)
    return white


def _target(card: InputCard, turn: Image.Transpose | None) -> tuple[int, int]:
    """The card's (width, height), as they lie in a picture that is yet to be turned."""
    height, width = card.size
    return (height, width) if turn in _SIDEWAYS else (width, height)


def _extent(seen: tuple[float, float], card: InputCard, turn: Image.Transpose | None) -> tuple[float, float]:
    """The (width, height) to which the whole picture is scaled: it fills the target, covers it or fits into it."""
    width, height = _target(card, turn)
    if card.fit == "stretch":
        return width, height
    ratios = width / seen[0], height / seen[1]
    ratio = max(ratios) if card.fit == "crop" else min(ratios)
    return seen[0] * ratio, seen[1] * ratio


def _fitted(
    image: Image.Image, seen: tuple[float, float], card: InputCard, turn: Image.Transpose | None
) -> Image.Image:
    """Scale to the target, less what `_on_black` adds. It comes before the turn, to turn the small picture only."""
    width, height = _target(card, turn)
    if image.size == (width, height):
        return image
    extent = _extent(seen, card, turn)
    if card.fit == "pad":  # a whole number of pixels, from the whole picture
        width, height = extent = max(1, round(extent[0])), max(1, round(extent[1]))
    across, down = seen[0] * min(1, width / extent[0]), seen[1] * min(1, height / extent[1])
    left, top = (seen[0] - across) / 2, (seen[1] - down) / 2
    box = left, top, left + across, top + down  # never outside, in floats too: the differences are exact
    return image.resize((width, height), Image.Resampling[card.resample.upper()], box, _REDUCING_GAP)


def _on_black(image: Image.Image, card: InputCard) -> Image.Image:
    height, width = card.size
    if image.size == (width, height):
        return image
    black = Image.new(image.mode, (width, height))
    black.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return black


def _array(image: Image.Image, card: InputCard) -> NDArray[np.generic]:
    """The pixels in the card's colour order, layout, dtype and range."""
    height, width = card.size
    pixels: NDArray[np.generic] = np.frombuffer(image.tobytes(), np.uint8).reshape(height, width, card.channels)
    if card.colour == "BGR":
        pixels = pixels[:, :, ::-1]
    if card.dtype != "uint8":
        pixels = normalised(pixels, card)
    if card.layout == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
    return pixels.astype(card.dtype, order="C")
