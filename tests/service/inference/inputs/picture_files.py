"""Picture files of every kind, made here, and how the tests have them read."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
