"""All figures of a comparison. The report and its plots are made of them alone; JSON keeps them."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

Network = Literal["dense", "convolutional"]
Variant = Literal["untaught", "taught"]
NETWORKS: tuple[Network, ...] = ("dense", "convolutional")
VARIANTS: tuple[Variant, ...] = ("untaught", "taught")


class Frozen(BaseModel):
    """A part of the figures."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Cost(Frozen):
    """What a network costs on one picture."""

    parameters: int
    multiply_adds: int
    dense: int  # of the parameters, those of dense layers


class Contender(Frozen):
    """A network that was compared."""

    network: str  # its name in the table of networks
    width: int
    normalises: bool  # between its layers
    cost: Cost


class Training(Frozen):
    """One training, and what its network was right on: shares from 0 to 1."""

    network: Network
    variant: Variant
    seed: int
    epoch: int  # whose weights were kept
    seconds: float
    milliseconds: float  # to judge one picture of many at once
    accuracy: float  # on the whole test set
    shifted: tuple[tuple[float, ...], ...]  # for each distance, each direction
    covered: tuple[tuple[float, ...], ...]  # for each side of the patch, each draw


class Comparison(Frozen):
    """A layer's maps of a picture that was shifted, against its maps of the picture as it was, themselves shifted."""

    pixels: int
    cells: float  # pixels / step
    largest: float  # difference, as a share of the largest value
    mean: float  # difference, as a share of the mean size of a value


class Layer(Frozen):
    """How a layer with maps takes a shift."""

    name: str
    step: int  # pixels from one cell to the next
    field: int  # edge of the receptive field in pixels
    border: int  # pixels to the edge, nearer than which a cell's receptive field leaves the picture
    compared: tuple[Comparison, ...]


class Change(Frozen):
    """How much the first dense layer's neurons change when the picture is shifted."""

    pixels: int
    mean: float  # as a share of the mean size of a value


class Size(Frozen):
    """What pictures of one size would cost."""

    height: int
    width: int
    channels: int
    hundred: int  # weights of a first dense layer of a hundred neurons
    dense: Cost
    convolutional: Cost


class Figures(Frozen):
    """Everything that was measured, and how."""

    command: str
    title: str  # of the data
    classes: int
    versions: str
    threads: int
    epochs: int
    batch: int
    learning_rate: float
    learnt_from: int
    chosen_by: int
    tested_on: int
    judged_on: int  # of these, shifted and covered
    black_edge: float  # share of their outermost pixels that are black
    flip: float  # probability of being mirrored, in both variants
    shift: int  # of the taught variant: pixels
    erase: float
    erase_share: float
    distances: tuple[int, ...]
    directions: tuple[tuple[int, int], ...]  # down and right
    sides: tuple[int, ...]
    contenders: dict[Network, Contender]
    trainings: tuple[Training, ...]
    layers: tuple[Layer, ...]
    sheet: tuple[int, int]  # pixels of the picture that `layers` were compared on
    changes: tuple[Change, ...]
    sizes: tuple[Size, ...]

    @property
    def costs(self) -> list[Cost]:
        """What each of NETWORKS costs."""
        return [self.contenders[network].cost for network in NETWORKS]

    def of(self, network: Network, variant: Variant) -> Sequence[Training]:
        """The trainings of one network in one variant, one a seed."""
        return [each for each in self.trainings if (each.network, each.variant) == (network, variant)]
