"""Pictures of a run: its curve, its first kernels by epoch, its confusions, and what its confidence is worth."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from torch import Tensor

from training.calibration import BINS, Reliability
from training.evaluate import Report
from training.learner import Epoch

DPI = 120
LEARNING, CHOOSING = "tab:orange", "tab:blue"
WRITTEN = 20  # labels up to which every cell of the confusion matrix is written out
MOST_ROWS = 100  # of kernels; of more epochs every second, third... has one
FRAME = (0.6, 0.75, 1.0)  # between kernels: a blue that no grey is

Values = NDArray[np.float32]


def draw_curve(rows: Sequence[Epoch], path: Path) -> None:
    """Loss and accuracy by epoch, of what was learnt from and of what the checkpoint was chosen by."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epochs = [row.epoch for row in rows]
    for part, colour in (("training", LEARNING), ("validation", CHOOSING)):
        for axes, what in ((loss, "loss"), (accuracy, "accuracy")):
            axes.plot(epochs, [getattr(row, f"{part}_{what}") for row in rows], ".-", color=colour, label=part)
    loss.set(title="Loss", xlabel="epoch", ylabel="nats")
    accuracy.set(title="Accuracy", xlabel="epoch")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1))
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    save(figure, path)


def draw_kernels(kernels: Sequence[Tensor], path: Path) -> None:
    """The first convolution's kernels, a row an epoch and a column a kernel; nothing where there is none.

    A column has one scale, so that a kernel is seen to grow: grey is 0, three channels are colour, others lie one under
    the other. Of a volume's kernels the middle slice is shown.
    """
    if not kernels:
        return
    steps = range(0, len(kernels), math.ceil(len(kernels) / MOST_ROWS))
    tiles = np.stack([flat(kernels[step].numpy()) for step in steps])  # [epochs, filters, height, width, 3]
    largest = np.abs(tiles).max(axis=(0, 2, 3, 4), keepdims=True)
    epochs, filters, height, width, _ = tiles.shape
    sheet = np.full((epochs, height + 1, filters, width + 1, 3), FRAME)
    sheet[:, 1:, :, 1:] = ((1 + tiles / np.maximum(largest, 1e-12)) / 2).transpose(0, 2, 1, 3, 4)
    sheet = sheet.reshape(epochs * (height + 1), filters * (width + 1), 3)
    sheet = np.vstack([sheet, np.full_like(sheet[:1], FRAME)])
    sheet = np.hstack([sheet, np.full_like(sheet[:, :1], FRAME)])
    cell = min(0.1, 16 / sheet.shape[1], 100 / sheet.shape[0])  # inches a weight
    figure = Figure(figsize=(1 + cell * sheet.shape[1], 1 + cell * sheet.shape[0]), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet)
    named = range(0, epochs, math.ceil(epochs / 20))
    middles = [(height + 1) * row + (height + 1) / 2 for row in named]
    axes.set_yticks(middles, [str(steps[row] + 1) for row in named])
    axes.set(xticks=[], ylabel="epoch", xlabel=f"{filters} kernels of the first convolution")
    axes.spines[:].set_visible(False)
    save(figure, path)


def flat(kernels: Values) -> Values:
    """Kernels [filters, channels, *extents] as pictures [filters, height, width, 3]."""
    if kernels.ndim == 5:
        kernels = kernels[:, :, kernels.shape[2] // 2]
    if kernels.ndim == 3:
        kernels = kernels[:, :, None]
    if kernels.shape[1] == 3:
        return kernels.transpose(0, 2, 3, 1)
    return kernels.reshape(len(kernels), -1, kernels.shape[-1], 1).repeat(3, axis=3)


def draw_confusion(report: Report, path: Path) -> None:
    """The confusion matrix: a row what an input shows, a column what was seen in it, as shares of the row."""
    count = len(report.labels)
    shares = report.confusion / report.confusion.sum(axis=1, keepdims=True).clip(min=1)
    side = min(14, 3 + 0.5 * count)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = 9 if count <= WRITTEN else 5
    axes.set_xticks(range(count), report.labels, rotation=90, fontsize=size)
    axes.set_yticks(range(count), report.labels, fontsize=size)
    axes.set(xlabel="seen", ylabel="shown", title=f"{report.accuracy:.2%} of {report.count:,} right")
    if count <= WRITTEN:
        for (row, column), number in np.ndenumerate(report.confusion):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(number), ha="center", va="center", color=colour, fontsize=8)
    save(figure, path)


def draw_reliability(before: Reliability, after: Reliability, path: Path) -> None:
    """How often answers were right, by how sure they were: without the temperature and with it."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    parts = (("without temperature", before), ("with temperature", after))
    for axes, (title, part) in zip(figure.subplots(1, 2), parts, strict=True):
        draw_bins(axes, part)
        axes.set(title=f"{title}: calibration error {part.error:.2%}", xlabel="confidence", ylabel="share right")
    save(figure, path)


def draw_bins(axes: Axes, part: Reliability) -> None:
    """A bar and a dot a bin that holds answers, the more solid the more of them; the line is where all should lie."""
    middles = (np.arange(BINS) + 0.5) / BINS
    share = part.count / max(part.count.sum(), 1)
    for middle, right, weight in zip(middles, part.accuracy, share, strict=True):
        axes.bar(middle, right, width=1 / BINS, color=CHOOSING, alpha=0.25 + 0.75 * float(weight) if weight else 0)
    filled = part.count > 0
    axes.plot(part.confidence[filled], part.accuracy[filled], "o", color=LEARNING)
    axes.plot([0, 1], [0, 1], "--", color="grey")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, the same bytes for the same figure."""
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
