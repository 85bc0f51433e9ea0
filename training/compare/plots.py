"""The report's plots, drawn of the figures alone."""

from collections.abc import Callable, Sequence
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from training.compare.figures import NETWORKS, VARIANTS, Figures, Network, Training
from training.compare.phrases import SAID

COLOURS: dict[Network, str] = {"dense": "#c44e1c", "convolutional": "#1c5eac"}
POINT, BAND = 3.5, 0.2
WIDE, WIDER, HIGH, DPI = 7.0, 9.0, 4.0, 110
PLOTS = ("shifted.png", "covered.png", "parameters.png")


def plots(figures: Figures) -> dict[str, bytes]:
    """All plots as PNG, by name."""
    return dict(zip(PLOTS, map(png, (shifted(figures), covered(figures), grown(figures))), strict=True))


def shifted(figures: Figures) -> Figure:
    """Accuracy against the distance; the band goes from the worst direction to the best."""
    what, ends = "pixels by which the test picture is shifted", "worst to best direction"
    return hardship(what, figures.distances, ends, figures, lambda one: one.shifted)


def covered(figures: Figures) -> Figure:
    """Accuracy against the side of the patch; the band goes from the worst draw to the best."""
    what, ends = "side of the black patch in pixels", "worst to best draw"
    return hardship(what, figures.sides, ends, figures, lambda one: one.covered)


def grown(figures: Figures) -> Figure:
    """Parameters against the numbers in a picture, both on logarithmic axes."""
    figure, axes = blank("numbers in the picture (height × width × channels)", "parameters")
    numbers = [size.height * size.width * size.channels for size in figures.sizes]
    wide = figures.contenders["dense"].width
    for label, counts, colour, line in (
        ("dense layer of 100 neurons", [size.hundred for size in figures.sizes], COLOURS["dense"], ":"),
        (f"dense network, width {wide}", [size.dense.parameters for size in figures.sizes], COLOURS["dense"], "-"),
        (
            "convolutional network",
            [size.convolutional.parameters for size in figures.sizes],
            COLOURS["convolutional"],
            "-",
        ),
        (
            "its convolutions alone",
            [size.convolutional.parameters - size.convolutional.dense for size in figures.sizes],
            COLOURS["convolutional"],
            ":",
        ),
    ):
        axes.plot(numbers, counts, line, color=colour, marker="o", markersize=POINT, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=axes.get_ylim()[0] / 100)  # room for the sizes
    for size, number in zip(figures.sizes, numbers, strict=True):
        axes.annotate(
            f"{size.height}×{size.width}×{size.channels}",
            (number, 0.03),
            xycoords=("data", "axes fraction"),
            rotation=90,
            ha="right",
            va="bottom",
            fontsize="x-small",
            color="grey",
        )
        axes.axvline(number, color="lightgrey", linewidth=0.6, zorder=0)
    axes.legend(loc="upper left")
    return figure


def blank(across: str, up: str) -> tuple[Figure, Axes]:
    """Axes with a grid and nothing on them."""
    figure = Figure(figsize=(WIDE, HIGH), layout="constrained")
    axes = figure.add_subplot()
    axes.set_ylabel(up)
    ruled(axes, across)
    return figure, axes


def ruled(axes: Axes, across: str) -> None:
    """Give axes a grid and a label."""
    axes.set_xlabel(across)
    axes.grid(visible=True, color="lightgrey", linewidth=0.5)


def hardship(
    what: str,
    steps: Sequence[int],
    ends: str,
    figures: Figures,
    shares: Callable[[Training], Sequence[Sequence[float]]],
) -> Figure:
    """Accuracy as things get harder in `steps`, a panel a variant.

    A training's `shares` are, for each step, of each direction or draw; `ends` says what the bands go between.
    """
    figure = Figure(figsize=(WIDER, HIGH), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, len(VARIANTS), sharey=True)
    for axes, variant in zip(panels, VARIANTS, strict=True):
        for network in NETWORKS:
            banded(axes, steps, over_seeds([shares(each) for each in figures.of(network, variant)]), network)
        axes.axhline(100 / figures.classes, color="grey", linestyle=":", label="guessing")
        axes.set_title(SAID[variant])
        ruled(axes, what)
    panels[0].set_ylabel("test accuracy, %")
    panels[0].set_ylim(0, 100)
    lines, labels = panels[0].get_legend_handles_labels()
    band = Patch(color="grey", alpha=BAND, linewidth=0)
    figure.legend([*lines, band], [*labels, ends], loc="outside lower center", ncols=len(lines) + 1)
    return figure


def over_seeds(shares: Sequence[Sequence[Sequence[float]]]) -> list[NDArray[np.float64]]:
    """For each abscissa the mean of all seeds, one value a direction or draw."""
    return [np.mean(at, axis=0) for at in zip(*shares, strict=True)]


def banded(axes: Axes, across: Sequence[int], shares: Sequence[NDArray[np.float64]], network: Network) -> None:
    """A line through the means, in percent, in a band from the least to the greatest."""
    mean, low, high = ([100 * float(pick(at)) for at in shares] for pick in (np.mean, np.min, np.max))
    colour = COLOURS[network]
    axes.plot(across, mean, color=colour, marker="o", markersize=POINT, label=network)
    axes.fill_between(across, low, high, color=colour, alpha=BAND, linewidth=0)
    axes.set_xticks(list(across))


def png(figure: Figure) -> bytes:
    """A figure as PNG, without the version of what drew it."""
    into = BytesIO()
    figure.savefig(into, format="png", dpi=DPI, metadata={"Software": None})
    return into.getvalue()
