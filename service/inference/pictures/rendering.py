"""What a layer yielded for one input -> a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import NotAcceptable
from service.inference.pictures.bars import bars
from service.inference.pictures.curves import curves
from service.inference.pictures.scale import Scale
from service.inference.pictures.sheet import sheet
from service.inference.pictures.tiles import tiles

Array = NDArray[Any]
Numbers = NDArray[np.float64]

OUTLIERS = 0.002  # of maps, at each end of the scale
MOST_CHANNELS, MOST_VALUES = 30_000, 30_000_000
FEATURES, SIGNALS, MAPS, VOLUMES = 1, 2, 3, 4
"""Ranks of what a layer yields for one input: [F], [C, L], [C, H, W], [C, D, H, W]."""


@dataclass(frozen=True)
class View:
    """How to look at it."""

    scale: Literal["layer", "channel"] = "layer"
    """One scale for all channels, or one for each. Bars have one in any case."""
    sort: Literal["activity"] | None = None
    """The most active first: by the mean magnitude of a channel's values; what is not finite before all others."""
    numbers: Sequence[int] | None = None
    """The channels' true numbers, where they are not all there."""
    note: str = ""
    """What else to say in the header."""


def contact_sheet(values: Array, name: str, view: View = View()) -> bytes:
    """A PNG of what the layer `name` yielded for one input, channels first, each under its number.

    [C, H, W] is drawn as tiles, [C, D, H, W] as the tiles of its middle slice, [C, L] as curves, [F] as bars. The scale
    is drawn beside the name. Of maps, the 0.2 % highest values share the last colour and the 0.2 % lowest the first;
    their true range is then told. Red is not finite. Each number of a map is a block of pixels of one colour: nothing
    is smoothed. The same values give the same bytes.
    Raises NotAcceptable for another rank, for no values at all, for what are no real numbers, and for more than anybody
    could look at.
    """
    if values.dtype.kind not in "biuf" or not FEATURES <= values.ndim <= VOLUMES or not values.size:
        raise NotAcceptable(f"layer {name!r} has no picture: {values.dtype} of shape {list(values.shape)}")
    shape = " x ".join(map(str, values.shape)) if values.ndim != FEATURES else f"{values.size} values"
    details = [shape]
    if values.ndim == VOLUMES:
        depth = values.shape[1]
        values = values[:, depth // 2]
        details.append(f"slice {depth // 2} of 0 to {depth - 1}, the middle one")
    if len(values) > MOST_CHANNELS or values.size > MOST_VALUES:
        raise NotAcceptable(f"layer {name!r} of shape {shape} is too large for a picture; cut it down by channel=")
    values = values.astype(np.float64)
    body, scale, beyond = _body(values, view)
    details += [beyond] if beyond else []
    details += ["sorted by activity"] if view.sort else []
    lost = int((~np.isfinite(values)).sum())
    upwards = values.ndim == SIGNALS
    return sheet(body, name, ", ".join(details), scale, view.note, upwards=upwards, not_finite=lost)


def _body(values: Numbers, view: View) -> tuple[Image.Image, Scale | None, str]:
    """The drawing, the scale if all of it has the same one, and what that scale leaves out."""
    numbers = np.arange(len(values)) if view.numbers is None else np.asarray(view.numbers)
    order = _by_activity(values) if view.sort == "activity" else np.arange(len(values))
    values, names = values[order], numbers[order].tolist()
    outliers = OUTLIERS if values.ndim == MAPS else 0.0
    whole, scale = Scale.of(values), Scale.of(values, outliers)
    beyond = "" if scale == whole else f"values {whole}"
    if values.ndim == FEATURES:
        return bars(values, scale, names), scale, beyond
    if view.scale == "layer":
        scales, captions = [scale] * len(values), [str(number) for number in names]
    else:
        scales = [Scale.of(channel, outliers) for channel in values]
        captions = [_caption(number, own, channel) for number, own, channel in zip(names, scales, values, strict=True)]
    if values.ndim == SIGNALS:
        body = curves(values, scales, captions)
    else:
        colours = [own.colours(channel) for own, channel in zip(scales, values, strict=True)]
        body = tiles(np.stack(colours), captions)
    return body, (scale if view.scale == "layer" else None), beyond


def _caption(number: int, scale: Scale, channel: Numbers) -> str:
    """The channel's number, and what its scale is, unless there is nothing in it to have one."""
    return f"{number}   {'not finite' if scale.not_finite == channel.size else scale}"


def _by_activity(values: Numbers) -> NDArray[np.intp]:
    """Places of the channels, the most active first; of equals, the first one first."""
    rows = np.abs(values.reshape(len(values), -1))
    means = (np.where(np.isfinite(rows), rows, 0) / rows.shape[1]).sum(axis=1)  # the sum of huge values overflows
    activity = np.where(np.isfinite(rows).all(axis=1), means, np.inf)
    return np.argsort(-activity, kind="stable")
