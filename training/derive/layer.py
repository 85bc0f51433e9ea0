"""A dense layer on a picture, and how many weights it keeps at each step on its way to a convolution."""

import re
from dataclasses import dataclass
from math import ceil
from typing import Self

from service.errors import InvalidRequest

MOST_PROVED = 1 << 20  # weights of a dense layer that is still laid out in full


@dataclass(frozen=True)
class Layer:
    """A dense layer of `hidden` neurons on a picture; the convolution has windows of `kernel` x `kernel` pixels.

    Such a window has `rows` x `columns` places in the picture. The convolution has a neuron at each of them, and as
    many maps of such neurons as it takes to have at least `hidden`. Biases are left out; they are shared in the same
    way, one a map.
    """

    height: int
    width: int
    channels: int
    hidden: int
    kernel: int

    def __post_init__(self) -> None:
        if self.kernel > min(self.height, self.width):
            picture = f"{self.height}x{self.width}"
            raise InvalidRequest(f"--kernel {self.kernel} does not fit into a picture of {picture} pixels")

    @classmethod
    def read(cls, image: str, hidden: str, kernel: str) -> Self:
        """Read what the command line gives, `image` as HxWxC. Raises InvalidRequest."""
        extents = image.lower().split("x")
        if len(extents) != 3:
            raise InvalidRequest(f"--image must be HEIGHTxWIDTHxCHANNELS, such as 6x6x3, not {image!r}")
        height, width, channels = (counted(f"each number of --image {image}", extent) for extent in extents)
        return cls(height, width, channels, counted("--hidden", hidden), counted("--kernel", kernel))

    @property
    def rows(self) -> int:
        """Places of the window along the height, without padding and with stride 1."""
        return self.height - self.kernel + 1

    @property
    def columns(self) -> int:
        """Places along the width."""
        return self.width - self.kernel + 1

    @property
    def places(self) -> int:
        """Places in all."""
        return self.rows * self.columns

    @property
    def maps(self) -> int:
        """Channels that the convolution yields: the fewest that have a neuron for each hidden one."""
        return ceil(self.hidden / self.places)

    @property
    def neurons(self) -> int:
        """Neurons of the convolution; `hidden`, where that fills its maps."""
        return self.maps * self.places

    @property
    def numbers(self) -> int:
        """Numbers in the picture."""
        return self.height * self.width * self.channels

    @property
    def asked(self) -> int:
        """Weights of the dense layer that was asked for."""
        return self.numbers * self.hidden

    @property
    def dense(self) -> int:
        """Weights of a dense layer of as many neurons as the convolution has."""
        return self.numbers * self.neurons

    @property
    def reach(self) -> tuple[int, int]:
        """How many different offsets there are between a place and a pixel, along the height and the width."""
        return self.height + self.rows - 1, self.width + self.columns - 1

    @property
    def invariant(self) -> int:
        """Translation invariance: a weight for each offset, however far. The service's layer table counts the same."""
        return self.maps * self.channels * self.reach[0] * self.reach[1]

    @property
    def sets(self) -> int:
        """The same, where a map has one set of weights no larger than the picture."""
        return self.maps * self.numbers

    @property
    def local(self) -> int:
        """Locality: a weight for each pixel of the window."""
        return self.maps * self.channels * self.kernel**2

    def provable(self) -> "Layer":
        """Itself, or where its dense layer would be too large to lay out, a small one of the same kind."""
        if self.dense <= MOST_PROVED:
            return self
        kernel = min(self.kernel, 3)
        height, width = min(self.height, kernel + 3), min(self.width, kernel + 4)
        places = (height - kernel + 1) * (width - kernel + 1)
        return Layer(height, width, min(self.channels, 3), min(self.maps, 4) * places, kernel)

    def __str__(self) -> str:
        picture, window = f"{self.height}x{self.width}x{self.channels}", f"{self.kernel}x{self.kernel}"
        return f"picture {picture}, {neurons(self.hidden)}, kernel {window}"


def neurons(count: int) -> str:
    """A count of neurons as text."""
    return f"{count:,} neuron{'' if count == 1 else 's'}"


def counted(what: str, text: str) -> int:
    """Read a count. Raises InvalidRequest for anything but a whole number of at least 1."""
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) == 0:
        raise InvalidRequest(f"{what} must be a whole number from 1 to 999,999,999, not {text!r}")
    return int(text)


SMALL = Layer(height=3, width=3, channels=1, hidden=16, kernel=2)
PHOTO = Layer(height=3000, width=4000, channels=3, hidden=100, kernel=3)
