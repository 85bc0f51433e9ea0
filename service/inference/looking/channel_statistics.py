"""Statistics of every channel of what a layer yielded for one input."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class ChannelStatistics:
    """Of every channel of one input, in columns: so thousands of channels are made in one go.

    `zeros` is the fraction of a channel's values that are exactly 0, so that dead ones show.
    """

    mean: list[float]
    std: list[float]
    min: list[float]
    max: list[float]
    zeros: list[float]


def statistics(array: Array, channel_axis: int = 0) -> ChannelStatistics:
    """Statistics per channel of one input's values, without the batch: [C, ...] by default, [F] as F channels.

    Computed in float64; NaN where a value is NaN, or where a channel has no values at all.
    """
    channels = np.moveaxis(array, channel_axis, 0) if array.ndim else array[np.newaxis]
    rows = channels.reshape(channels.shape[0], -1) if channels.size else np.full((channels.shape[0], 1), np.nan)
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        columns = (*_mean_and_deviation(rows), rows.min(axis=1), rows.max(axis=1), (rows == 0).mean(axis=1))
    return ChannelStatistics(*((column.astype(np.float64) + 0.0).tolist() for column in columns))  # no -0.0


def _mean_and_deviation(rows: Array) -> tuple[Array, Array]:
    """Of each row, on one float64 copy; numpy's own `std` would compute the mean once more."""
    values = rows.astype(np.float64)
    mean = values.mean(axis=1)
    values -= mean[:, np.newaxis]
    values *= values
    return mean, np.sqrt(values.mean(axis=1))
