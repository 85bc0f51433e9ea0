"""The outcome: what all seeds say together, in tables and in sentences that hold however it went."""

from collections.abc import Sequence
from statistics import mean
from typing import Literal

from training.compare.figures import NETWORKS, VARIANTS, Figures, Network, Variant
from training.compare.phrases import SAID, counted, listed, table

Hardship = Literal["shifted", "covered"]
STATED: dict[Hardship, tuple[int, ...]] = {"shifted": (2, 4, 8), "covered": (8, 12, 20)}
DONE: dict[Hardship, str] = {"shifted": "shifted by", "covered": "under a square of"}
NAMES = [(network, variant) for network in NETWORKS for variant in VARIANTS]
HEADS = [f"{network}, {SAID[variant]}" for network, variant in NAMES]
UNMOVED = "as they are"
LITTLE = 0.25  # of what a network was above guessing
DIAGONAL = 2**0.5


def known(figures: Figures, what: Hardship) -> Sequence[int]:
    """The abscissae that were measured."""
    return figures.distances if what == "shifted" else figures.sides


def shares(figures: Figures, what: Hardship, network: Network, variant: Variant) -> dict[int, float]:
    """Accuracy at each abscissa, the mean of all seeds and directions or draws."""
    trainings = [getattr(each, what) for each in figures.of(network, variant)]
    return {at: mean(map(mean, parts)) for at, *parts in zip(known(figures, what), *trainings, strict=True)}


def hardships(figures: Figures, what: Hardship, head: str, wanted: Sequence[int]) -> str:
    """A table of `shares` in percent, a row for each of `wanted`."""
    columns = [shares(figures, what, *name) for name in NAMES]
    return table([head, *HEADS], [[str(at), *(f"{100 * column[at]:.1f}" for column in columns)] for at in wanted])


def directions(figures: Figures, distance: int) -> str:
    """A table of the accuracies at `distance`, a row for each direction, the straight ones before the diagonal."""
    at = figures.distances.index(distance)
    columns = [
        [mean(each.shifted[at][way] for each in figures.of(*name)) for way in range(len(figures.directions))]
        for name in NAMES
    ]
    ways = sorted(range(len(figures.directions)), key=lambda way: all(figures.directions[way]))
    rows = [[named(*figures.directions[way]), *(f"{100 * column[way]:.1f}" for column in columns)] for way in ways]
    return table([f"{distance} pixels", *HEADS], rows)


def named(down: int, right: int) -> str:
    """A direction in words."""
    return " and ".join(filter(None, (("", "down", "up")[down], ("", "right", "left")[right])))


def ahead(figures: Figures) -> dict[str, tuple[float, ...]]:
    """Points by which the convolutional network is ahead, for each of VARIANTS; by what is done to the pictures."""
    rates = [[mean(each.accuracy for each in figures.of(network, way)) for network in NETWORKS] for way in VARIANTS]
    rows = {UNMOVED: tuple(points(second - first) for first, second in rates)}
    for what, stated in STATED.items():
        pairs = [[shares(figures, what, network, way) for network in NETWORKS] for way in VARIANTS]
        for at in stated:
            rows[done(what, at)] = tuple(gap(two[at], one[at]) for one, two in pairs)
    return rows


def done(what: Hardship, at: int) -> str:
    """What was done to the test pictures."""
    return f"{DONE[what]} {counted(at, 'pixel')}"


def lead(figures: Figures) -> str:
    """Say in a sentence where the convolutional network is ahead, and where most."""
    rows = ahead(figures).items()
    cells = [(name, variant, each) for name, row in rows for variant, each in zip(VARIANTS, row, strict=True)]
    behind = [f"{name} ({SAID[variant]})" for name, variant, each in cells if each <= 0]
    name, variant, most = max(cells, key=lambda cell: cell[-1])
    if most <= 0:
        return "The convolutional network is ahead nowhere."
    where = f"everywhere but on pictures {listed(behind)}" if behind else "everywhere"
    best = f"{most:.1f} points, on pictures {name} ({SAID[variant]})"
    return f"The convolutional network is ahead {where}; most, by {best}."


def lost(figures: Figures, what: Hardship) -> str:
    """Say what the networks that were not taught have lost, and which of them less."""
    dense, convolutional = (losses(figures, what, network) for network in NETWORKS)
    told = [listed([f"{each:.1f}" for each in one.values()]) for one in (dense, convolutional)]
    ways = {
        "less": [at for at in dense if convolutional[at] < dense[at]],
        "more": [at for at in dense if convolutional[at] > dense[at]],
        "as much": [at for at in dense if convolutional[at] == dense[at]],
    }
    judged = ", ".join(f"{way} at {listed(places)}" for way, places in ways.items() if places)
    return (
        f"At {listed(list(dense))} pixels the dense network that was not taught has lost {told[0]} points of what it "
        f"had at 0, the convolutional one {told[1]}: {judged}."
    )


def losses(figures: Figures, what: Hardship, network: Network) -> dict[int, float]:
    """Points that a network that was not taught has lost at each stated abscissa."""
    rates = shares(figures, what, network, "untaught")
    return {at: gap(rates[0], rates[at]) for at in STATED[what]}


def floor(figures: Figures, what: Hardship) -> str:
    """Say who is so near to guessing at the last abscissa that there is little left to lose; empty if nobody is."""
    last, guess = known(figures, what)[-1], 1 / figures.classes
    rates = [shares(figures, what, *name) for name in NAMES]
    near = [head for head, rate in zip(HEADS, rates, strict=True) if rate[last] - guess < LITTLE * (rate[0] - guess)]
    if not near:
        return ""
    who = "all are" if near == HEADS else f"{listed([f'*{head}*' for head in near])} {'are' if near[1:] else 'is'}"
    return (
        f"At {last} pixels {who} near guessing: of what was above its {guess:.0%} at 0, less than {LITTLE:.0%} is "
        "left. Where there is little left to lose, losses no longer tell networks apart."
    )


def price(figures: Figures) -> str:
    """Say what teaching does to the accuracy on pictures as they are."""
    told, lowered = [], False
    for network in NETWORKS:
        rates = [mean(each.accuracy for each in figures.of(network, variant)) for variant in VARIANTS]
        before, after = (round(100 * rate, 2) for rate in rates)
        does = "lowers" if after < before else "raises" if after > before else "keeps"
        lowered = lowered or after < before
        moved = f"from {before:.2f} to {after:.2f}" if after != before else f"at {after:.2f}"
        told.append(f"{does} the accuracy of the {network} network {moved}")
    return (
        f"Teaching {'has its price' if lowered else 'costs nothing here'}: in {counted(figures.epochs, 'epoch')}, on "
        f"pictures as they are, it {listed(told)}. Whether more epochs change that was not tried."
    )


def worth(figures: Figures, what: Hardship, network: Network, at: int) -> str:
    """What teaching added at an abscissa, beyond what it changed for pictures as they are."""
    untaught, taught = (shares(figures, what, network, variant) for variant in VARIANTS)
    return f"{gap(untaught[0], untaught[at]) - gap(taught[0], taught[at]):+.1f}"


def gap(one: float, other: float) -> float:
    """By how many points two shares differ as they are printed, so that whoever subtracts finds the same."""
    return round(points(one) - points(other), 1)


def points(share: float) -> float:
    """A share of the pictures in points, as it is printed."""
    return round(100 * share, 1)
