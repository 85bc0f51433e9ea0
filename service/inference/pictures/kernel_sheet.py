"""Kernels -> a picture."""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import NotAcceptable
from service.inference.pictures.matrix import Blocks, matrix
from service.inference.pictures.scale import Scale
from service.inference.pictures.sheet import sheet
from service.inference.pictures.tiles import tiles

Array = NDArray[Any]
Numbers = NDArray[np.float64]
Drawn = tuple[Image.Image, Scale, str]

OUTLIERS = 0.002
MOST_PAIRS = 10_000
BROADEST = 2200  # pixels
SMALLEST_PLACE = 2  # pixels
COLOURS = 3


def kernel_sheet(kernels: Array, name: str, note: str = "", colour: Literal["RGB", "BGR"] = "RGB") -> bytes:
    """A PNG of `kernels` [out, in, *space], or of a matrix [out, in].

    What looks at three channels of a picture is drawn in colour, grey being 0: a tile per kernel. What looks at one: a
    tile per kernel, blue below 0, white at 0, red above. Else a tile per pair of channels, or, where these would be too
    many, the norm (root of the sum of squares) of each pair's weights. A matrix, which kernels of one place are too, is
    drawn as it is, or by blocks. Of volumes the middle slice. The same kernels give the same bytes.
    Raises NotAcceptable for what is neither, or is not made of real numbers.
    """
    if kernels.dtype.kind not in "biuf" or not 2 <= kernels.ndim <= 5 or not kernels.size:
        raise NotAcceptable(f"the weight of layer {name!r} has no picture: {kernels.dtype} {list(kernels.shape)}")
    details = [" x ".join(map(str, kernels.shape))]
    coloured = kernels.ndim == 4  # the channels of signals and volumes are no colours
    if kernels.ndim == 5:
        depth = kernels.shape[2]
        kernels = kernels[:, :, depth // 2]
        details.append(f"slice {depth // 2} of 0 to {depth - 1}, the middle one")
    if kernels.ndim == 3:
        kernels = kernels[:, :, np.newaxis]
    body, scale, meaning = _drawn(kernels, colour if coloured else None)
    finite = kernels[np.isfinite(kernels)]
    details += [meaning, f"values {Scale.of(finite)}"]
    return sheet(body, name, ", ".join(details), scale, note)


def _drawn(kernels: Array, colour: str | None) -> Drawn:
    outputs, inputs, *space = kernels.shape
    if math.prod(space) == 1:
        return _matrix(kernels.reshape(outputs, inputs))
    if colour and inputs == COLOURS and outputs <= MOST_PAIRS:
        return _in_colour(kernels.astype(np.float64), colour)
    if inputs == 1 and outputs <= MOST_PAIRS:
        scale = Scale.around_zero(kernels, OUTLIERS)
        return tiles(scale.colours(kernels[:, 0].astype(np.float64)), _numbers(outputs)), scale, "a tile per kernel"
    broadest = max(outputs * space[0], inputs * space[1]) * SMALLEST_PLACE + max(outputs, inputs)
    if outputs * inputs <= MOST_PAIRS and broadest <= BROADEST:
        scale = Scale.around_zero(kernels, OUTLIERS)
        return matrix(kernels.astype(np.float64), scale), scale, "down: out, across: in"
    norms = np.sqrt(np.square(kernels, dtype=np.float64).sum(axis=(2, 3)))
    blocks = Blocks.of(norms, BROADEST)
    scale = Scale.from_zero(blocks.values)
    return _as_matrix(blocks, scale), scale, f"norms of the kernels, down: out, across: in{blocks}"


def _in_colour(kernels: Numbers, colour: str) -> Drawn:
    scale = Scale.around_zero(kernels, OUTLIERS, "grey")
    levels = np.rint(scale.fractions(np.moveaxis(kernels, 1, -1)) * 255).astype(np.uint8)
    pixels = levels if colour == "RGB" else levels[..., ::-1]
    return tiles(np.ascontiguousarray(pixels), _numbers(len(kernels))), scale, "in colour, grey is 0"


def _matrix(weights: Array) -> Drawn:
    blocks = Blocks.of(weights.astype(np.float64), BROADEST)
    scale = Scale.around_zero(weights, OUTLIERS) if blocks.side == (1, 1) else Scale.from_zero(blocks.values)
    return _as_matrix(blocks, scale), scale, f"down: out, across: in{blocks}"


def _as_matrix(blocks: Blocks, scale: Scale) -> Image.Image:
    return matrix(blocks.values[:, :, np.newaxis, np.newaxis], scale, blocks.side)


def _numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]
