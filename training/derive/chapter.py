"""The chapter's numbers and pictures, in every language that it is written in.

The text is written by hand; a number in it stands between `<!-- derive NAME -->` and `<!-- end -->`, which no reader
sees, and `write` sets it to what the code computes.
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d

from service.errors import InvalidRequest, UnknownName
from training.derive.convolution import CHANNELS, FOUR, KERNEL, MAPS, NINE, SIZES, out_of, turned_round
from training.derive.kernels import KERNELS, applied, step
from training.derive.layer import PHOTO, SMALL, Layer
from training.derive.pictures import BAND, WHITE, pictures
from training.derive.walk import BYTES, GREY, fewer

CHAPTERS = ("from-dense-to-convolution.md", "from-dense-to-convolution.zh.md")
PICTURES, SAMPLE = "derive", "samples/ankle-boot.png"
MARKED = re.compile(r"(<!-- derive (\S+) -->).*?(<!-- end -->)", re.DOTALL)
WAN, MILLION, YI, BILLION = 10**4, 10**6, 10**8, 10**9  # Chinese counts in wan and yi


def write(docs: Path) -> list[Path]:
    """Bring the chapter in the folder `docs` up to date: its pictures, and the numbers in its text."""
    for name in (SAMPLE, *CHAPTERS):
        if not (docs / name).is_file():
            raise InvalidRequest(f"{docs} is not the folder of the chapter: it has no {name}")
    (docs / PICTURES).mkdir(exist_ok=True)
    drawn = pictures(np.asarray(Image.open(docs / SAMPLE)))
    contents = {docs / PICTURES / name: encoded(picture) for name, picture in drawn.items()}
    contents |= {docs / name: filled((docs / name).read_text("utf-8")).encode() for name in CHAPTERS}
    for path, content in contents.items():
        path.write_bytes(content)
    return list(contents)


def encoded(picture: Image.Image) -> bytes:
    """A picture as PNG."""
    into = BytesIO()
    picture.save(into, "PNG", optimize=True)
    return into.getvalue()


def filled(text: str) -> str:
    """Set every marked number in a text. Raises UnknownName for one that nobody computes."""
    known = numbers()

    def value(match: re.Match[str]) -> str:
        before, name, after = match.groups()
        if name not in known:
            raise UnknownName("number", name, known)
        return f"{before}{known[name]}{after}"

    return MARKED.sub(value, text)


def numbers() -> Mapping[str, str]:
    """Every number that the chapter may use, by name."""
    return {
        **photo(),
        **dict(counts("small", SMALL)),
        **dict(counts("band", BAND)),
        **{f"size.{name}": str(out_of(*size)) for name, size in SIZES.items()},
        **{f"hand.{name}": lines(picture) for name, picture in by_hand().items()},
        "channels.weights": f"{MAPS * CHANNELS * KERNEL**2:,}",
        "point.weights": f"{MAPS * CHANNELS:,}",
        "step": line(step()),
        "white": f"{WHITE}",
        **{f"kernel.{name}": table(kernel) for name, kernel in KERNELS.items()},
        **{f"sum.{name}": f"{kernel.sum().item():g}" for name, kernel in KERNELS.items()},
        **{f"made.{name}": line(applied(kernel, step())) for name, kernel in KERNELS.items()},
    }


def by_hand() -> Mapping[str, Tensor]:
    """What a pencil can check, [1, h, w] each: a picture, a kernel, and what comes of them, both ways round."""
    return {
        "picture": NINE,
        "kernel": FOUR[0],
        "turned": turned_round(FOUR)[0],
        "correlated": conv2d(NINE, FOUR),
        "convolved": conv2d(NINE, turned_round(FOUR)),
    }


def photo() -> Mapping[str, str]:
    """The photo's, in the large units of both languages."""
    pixels, wrong = GREY.numbers, GREY.asked // 10
    return {
        "photo.pixels.million": inside(pixels, MILLION),
        "photo.pixels.wan": inside(pixels, WAN),
        "photo.numbers.million": inside(PHOTO.numbers, MILLION),
        "photo.numbers.wan": inside(PHOTO.numbers, WAN),
        "photo.hidden": f"{PHOTO.hidden}",
        "photo.grey.billion": inside(GREY.asked, BILLION),
        "photo.grey.yi": inside(GREY.asked, YI),
        "photo.wrong.million": inside(wrong, MILLION),
        "photo.wrong.yi": inside(wrong, YI),
        "photo.wrong.neurons": f"{wrong // pixels}",
        "photo.asked.billion": inside(PHOTO.asked, BILLION),
        "photo.asked.yi": inside(PHOTO.asked, YI),
        "photo.gigabytes": inside(BYTES * PHOTO.asked, BILLION),
        "photo.local": f"{PHOTO.local:,}",
        "photo.channels": f"{PHOTO.hidden * PHOTO.channels * PHOTO.kernel**2:,}",
    }


def counts(name: str, layer: Layer) -> Iterator[tuple[str, str]]:
    """A layer's, from dense to local."""
    for each in ("numbers", "hidden", "places", "maps", "dense", "invariant", "sets", "local"):
        yield f"{name}.{each}", f"{getattr(layer, each):,}"
    yield f"{name}.reach", f"{layer.reach[0]}×{layer.reach[1]}"
    yield f"{name}.fewer", fewer(layer.local, layer.asked)


def inside(count: int, unit: int) -> str:
    """A count in a large unit."""
    return f"{count / unit:g}"


def lines(picture: Tensor) -> str:
    """A picture [1, h, w] of whole numbers, a line each."""
    return "<br>".join(" ".join(f"{value:g}" for value in row) for row in picture[0].tolist())


def line(picture: Tensor) -> str:
    """The first line of a picture [1, h, w] all of whose lines are alike."""
    return lines(picture[:, :1])


def table(kernel: Tensor) -> str:
    """A kernel [1, 1, k, k] as whole numbers, a line each, and what they are divided by."""
    over = max(Fraction(value).denominator for value in kernel.flatten().tolist())
    whole = lines(kernel[0] * over)
    return whole if over == 1 else f"{whole}<br>÷ {over}"
