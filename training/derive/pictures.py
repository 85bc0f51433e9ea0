"""The chapter's pictures. They hold no words, so that one serves in every language."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from training.derive.derivation import dense, tied, within
from training.derive.kernels import KERNELS, SAME, applied
from training.derive.layer import SMALL, Layer
from training.derive.proof import Numbers

Pixels = NDArray[np.uint8]

BAND = Layer(height=6, width=6, channels=1, hidden=16, kernel=3)
ORANGE, BLUE, LINE, WHITE = (196, 78, 28), (28, 94, 172), 72, 255
GAP, MARGIN, MOVE = 16, 4, 4


def pictures(sample: Pixels) -> Mapping[str, Image.Image]:
    """All pictures by name; `sample` is a grey picture, uint8 [h, w]."""
    picture = torch.tensor(sample).double()[None]
    return {
        "band.png": Image.fromarray(
            beside(matrices(BAND, 7, ("dense", "invariant", "local"), BAND.columns, BAND.width))
        ),
        "small.png": Image.fromarray(
            beside(matrices(SMALL, 14, ("dense", "invariant", "sets", "local"), SMALL.places, SMALL.numbers))
        ),
        "kernels.png": Image.fromarray(beside(effects(picture))),
        "moved.png": Image.fromarray(moving(picture)),
    }


def matrices(layer: Layer, cell: int, steps: Sequence[str], rows: int, columns: int) -> list[Pixels]:
    """The weights of a dense layer at each of `steps`, a row for each neuron and a column for each pixel.

    A line parts every so many `rows` and `columns` from the next.
    """
    numbers = Numbers(0)
    shape = layer.maps, layer.rows, layer.columns, layer.channels, layer.height, layer.width
    weights = raised(numbers.weights(*shape))
    offsets = raised(numbers.weights(layer.maps, layer.channels, *layer.reach))
    each = {
        "dense": weights,
        "invariant": tied(layer, offsets),
        "sets": tied(layer, within(layer, offsets, layer.height, layer.width)),
        "local": tied(layer, within(layer, offsets, layer.kernel, layer.kernel)),
    }
    laid_out = coloured(*(each[step].reshape(layer.neurons, layer.numbers) for step in steps))
    return [framed(ruled(enlarged(matrix, cell), cell * rows, cell * columns)) for matrix in laid_out]


def raised(weights: Tensor) -> Tensor:
    """Weights that end at 1, moved away from 0 by a quarter, so that even the smallest shows that it is there."""
    return weights / weights.abs().max() + weights.sign() / 4


def effects(picture: Tensor) -> list[Pixels]:
    """Each kernel, under it what it makes of a grey picture: grey where it keeps brightness, else coloured by sign."""
    kernels = SAME, *KERNELS.values()
    made = [applied(kernel, picture, padding=1)[0] for kernel in kernels]
    shown = [
        grey(each) if kernel.sum() else signed
        for kernel, each, signed in zip(kernels, made, coloured(*made), strict=True)
    ]
    return [
        above(framed(enlarged(coloured(kernel[0, 0])[0], 16)), framed(enlarged(each, 5)))
        for kernel, each in zip(kernels, shown, strict=True)
    ]


def moving(picture: Tensor) -> Pixels:
    """A picture, what a convolution and what a dense layer make of it; under it the same, the picture moved."""
    small = functional.avg_pool2d(picture, 2)
    before = functional.pad(small, (MARGIN, MARGIN + MOVE, MARGIN, MARGIN + MOVE))
    after = functional.pad(small, (MARGIN + MOVE, MARGIN, MARGIN + MOVE, MARGIN))
    extents = before.shape[1:]
    weights = Numbers(0).weights(1, *extents, 1, *extents)
    both = before, after
    edges = coloured(*(applied(KERNELS["vertical"], each, padding=1)[0] for each in both))
    outputs = coloured(*(dense(weights, each)[0] for each in both))
    lines = zip([grey(each[0]) for each in both], edges, outputs, strict=True)
    return above(*(beside([framed(enlarged(shown, 8)) for shown in line]) for line in lines))


def grey(values: Tensor) -> Pixels:
    """Brightness [h, w], what is beyond 0 or WHITE cut off, as colours [h, w, 3]."""
    levels: Pixels = values.clamp(0, WHITE).round().byte()[..., None].expand(-1, -1, 3).numpy()
    return levels


def coloured(*values: Tensor) -> list[Pixels]:
    """Signed values [h, w] as colours [h, w, 3], all on one scale."""
    most = max(float(each.abs().max()) for each in values)
    return [tinted((each / most).numpy()[..., None]) for each in values]


def tinted(strength: NDArray[np.float64]) -> Pixels:
    """Values [h, w, 1] from -1 to 1 as colours [h, w, 3]: 0 is white, above it the bluer, below it the more orange."""
    hue = np.where(strength > 0, BLUE, ORANGE)
    colours: Pixels = np.rint(WHITE + (hue - WHITE) * np.abs(strength)).astype(np.uint8)
    return colours


def enlarged(colours: Pixels, times: int) -> Pixels:
    """Each pixel as a square."""
    return colours.repeat(times, axis=0).repeat(times, axis=1)


def framed(colours: Pixels) -> Pixels:
    """A thin grey line around."""
    return np.pad(colours, ((1, 1), (1, 1), (0, 0)), constant_values=LINE)


def ruled(colours: Pixels, rows: int, columns: int) -> Pixels:
    """A thin grey line after every so many `rows` and `columns`."""
    lined = colours.copy()
    lined[rows::rows] = lined[:, columns::columns] = LINE
    return lined


def beside(parts: Sequence[Pixels]) -> Pixels:
    """Parts of one height side by side, on white."""
    gap = np.full((parts[0].shape[0], GAP, 3), WHITE, np.uint8)
    return np.concatenate([each for part in parts for each in (gap, part)][1:], axis=1)


def above(*parts: Pixels) -> Pixels:
    """Parts one above the other, in the middle, on white."""
    width = max(part.shape[1] for part in parts)
    gap = np.full((GAP, width, 3), WHITE, np.uint8)
    return np.concatenate([each for part in parts for each in (gap, centred(part, width))][1:], axis=0)


def centred(part: Pixels, width: int) -> Pixels:
    """White to the left and right, up to `width`."""
    missing = width - part.shape[1]
    return np.pad(part, ((0, 0), (missing // 2, missing - missing // 2), (0, 0)), constant_values=WHITE)
