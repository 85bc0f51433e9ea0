"""What a convolution does, each claim proved on tensors: turned kernels, channels, pooling, sizes, shifted pictures."""

from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from training.derive.derivation import dense
from training.derive.proof import Numbers, Step, apart

SIDE, KERNEL, CHANNELS, MAPS = 6, 3, 3, 4
SIZES = {  # of a picture, of a window, padding, stride
    "alone": (SIDE, KERNEL, 0, 1),
    "padded": (SIDE, KERNEL, 1, 1),
    "strided": (SIDE, KERNEL, 1, 2),
    "pooled": (SIDE, 2, 0, 2),
}
NINE = torch.arange(1, 10).reshape(1, 3, 3).double()
FOUR = torch.arange(1, 5).reshape(1, 1, 2, 2).double()


def convolution(seed: int = 0) -> list[Step]:
    """What holds for any picture, shown on one of 6x6."""
    numbers = Numbers(seed)
    picture = numbers.picture(CHANNELS, SIDE, SIDE)
    kernels, points = numbers.weights(MAPS, CHANNELS, KERNEL, KERNEL), numbers.weights(MAPS, CHANNELS, 1, 1)
    wide = numbers.weights(1, SIDE, SIDE, CHANNELS, SIDE, SIDE)
    shape = f"{CHANNELS} channels in, {MAPS} out, {KERNEL}x{KERNEL}"
    alone, padded, strided, pools = (f"{out_of(*size)}x{out_of(*size)}" for size in SIZES.values())
    sizes = f"alone {alone}, padding 1 {padded}, stride 2 as well {strided}; pooling by 2 {pools}"
    return [
        Step("by hand, 1 2 3 / 4 5 6 / 7 8 9 by 1 2 / 3 4: 37 47 / 67 77, turned 23 33 / 53 63", None, by_hand()),
        Step("this is cross-correlation; convolution proper turns the kernel round", None, turned(picture, kernels)),
        Step(f"several channels: {shape}; each map sums over its inputs", kernels.numel(), summed(picture, kernels)),
        Step("a 1x1 convolution is one dense layer, used at each pixel", points.numel(), pointwise(picture, points)),
        Step("pooling treats each channel by itself and has no weights", 0, pooled(picture)),
        Step("a picture moved moves its map along; a dense layer's does not", None, moved(picture, kernels, wide)),
        Step(f"{KERNEL}x{KERNEL} on {SIDE}x{SIDE}: {sizes}", None, sized()),
    ]


def by_hand() -> float:
    """Small enough to be checked with a pencil, both ways round; its numbers stand in the chapter, too."""
    correlated = torch.tensor([[[37, 47], [67, 77]]])
    convolved = torch.tensor([[[23, 33], [53, 63]]])
    inside = convolved_properly(NINE, FOUR)[:, 1:-1, 1:-1]  # where the whole kernel lies in the picture
    return apart((functional.conv2d(NINE, FOUR), correlated), (inside, convolved))


def turned(picture: Tensor, kernels: Tensor) -> float:
    """Convolution proper lays each pixel out as a kernel, H[i,j] = sum of V[a,b] X[i-a,j-b]: `conv2d`, turned round.

    It is what `conv_transpose2d` computes, too.
    """
    edge = kernels.shape[-1] - 1
    correlated = functional.conv2d(functional.pad(picture, (edge, edge, edge, edge)), turned_round(kernels))
    other_way = functional.conv_transpose2d(picture, kernels.transpose(0, 1))
    return apart((convolved_properly(picture, kernels), correlated), (correlated, other_way))


def turned_round(kernels: Tensor) -> Tensor:
    """Kernels turned by half a turn: both axes reversed."""
    return kernels.flip(-2, -1)


def convolved_properly(picture: Tensor, kernels: Tensor) -> Tensor:
    """Convolution by its definition: [c, h, w] and [m, c, k, k] to [m, h + k - 1, w + k - 1]."""
    (_, height, width), (maps, _, rows, columns) = picture.shape, kernels.shape
    sums = picture.new_zeros(maps, height + rows - 1, width + columns - 1)
    for a, b in product(range(rows), range(columns)):
        sums[:, a : a + height, b : b + width] += torch.einsum("mc,cij->mij", kernels[..., a, b], picture)
    return sums


def summed(picture: Tensor, kernels: Tensor) -> float:
    """Each map has a kernel of its own for each channel; what they yield is added up."""
    sums = torch.zeros(
        len(kernels), *(extent - kernels.shape[-1] + 1 for extent in picture.shape[1:]), dtype=torch.double
    )
    for (number, kernel), (channel, plane) in product(enumerate(kernels), enumerate(picture)):
        sums[number] += functional.conv2d(plane[None], kernel[None, channel : channel + 1])[0]
    return apart((functional.conv2d(picture, kernels), sums))


def pointwise(picture: Tensor, points: Tensor) -> float:
    """Torch's dense layer on the channels of each pixel, one by one, is its 1x1 convolution."""
    pixels = functional.linear(picture.permute(1, 2, 0), points[..., 0, 0])
    return apart((functional.conv2d(picture, points), pixels.permute(2, 0, 1)))


def pooled(picture: Tensor) -> float:
    """Pooling all channels at once is pooling each alone: the largest, or the mean, of each 2x2."""
    alone = torch.stack([functional.max_pool2d(channel[None], 2)[0] for channel in picture])
    blocks = picture.unfold(1, 2, 2).unfold(2, 2, 2)
    largest, mean = functional.max_pool2d(picture, 2), functional.avg_pool2d(picture, 2)
    return apart((largest, alone), (largest, blocks.amax((-2, -1))), (mean, blocks.mean((-2, -1))))


def moved(picture: Tensor, kernels: Tensor, wide: Tensor) -> float:
    """Moved down and right by one pixel, the map moves as well, up to where new pixels come in at the edge.

    Infinite where the dense layer `wide` did as much by accident: then this would say nothing about convolutions.
    """
    before, after = (functional.conv2d(each, kernels) for each in (picture, moved_by_one(picture)))
    kept = apart((after[:, 1:, 1:], before[:, :-1, :-1]))
    first, second = (dense(wide, each) for each in (picture, moved_by_one(picture)))
    return kept if apart((second[:, 1:, 1:], first[:, :-1, :-1])) > 1 else float("inf")


def moved_by_one(picture: Tensor) -> Tensor:
    """A picture [c, h, w] moved down and right by one pixel; 0 comes in at the edge."""
    return functional.pad(picture, (1, -1, 1, -1))


def out_of(extent: int, window: int, padding: int, stride: int) -> int:
    """How many places a window has along an axis."""
    return (extent + 2 * padding - window) // stride + 1


def sized() -> float:
    """Compare `out_of` with what torch yields, convolving and pooling, for every small case that there is."""
    pairs: list[tuple[Tensor | int, Tensor | int]] = []
    for extent, window, padding, stride in product(range(1, 10), range(1, 6), range(3), range(1, 4)):
        if window > extent + 2 * padding:
            continue
        line, expected = torch.ones(1, 1, extent), out_of(extent, window, padding, stride)
        kernel = torch.ones(1, 1, window)
        pairs.append((functional.conv1d(line, kernel, padding=padding, stride=stride).shape[-1], expected))
        if padding <= window // 2:  # torch pools with no more padding than that
            pairs.append((functional.max_pool1d(line, window, stride, padding).shape[-1], expected))
    return apart(*pairs)
