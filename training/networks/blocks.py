"""Blocks: what every network here is made of, in one, two or three dimensions."""

from collections import OrderedDict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from training.data.examples import Task

CONVOLUTION: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMALISATION: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOLING: dict[int, type[nn.Module]] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}


class Planes(nn.Module):
    """Inputs [N, *extents, channels] to planes [N, channels, *extents], as convolutions want them."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Move the channels forward; a view, nothing is copied."""
        return inputs.movedim(-1, 1)


class Scaled(nn.Module):
    """Planes to float32 of mean 0 and spread 1 per channel, by the mean and spread of what there is to learn from."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        whole = 255 if task.input.kind == "image" else 1  # pixels are 0 to 255, the mean and spread of pictures 0 to 1
        shape = (1, -1, *[1] * len(task.input.size))
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", whole * torch.tensor(task.mean).reshape(shape))
        self.register_buffer("std", whole * torch.tensor(task.std).reshape(shape))

    def forward(self, planes: Tensor) -> Tensor:
        """Subtract the mean, divide by the spread."""
        return (planes.float() - self.mean) / self.std


class GlobalAverage(nn.Module):
    """Planes [N, channels, *extents] to the mean of each, [N, channels]."""

    def forward(self, planes: Tensor) -> Tensor:
        """Average over space; nn.AdaptiveAvgPool2d is exported as a dozen operators that compute its window."""
        return planes.mean(dim=tuple(range(2, planes.ndim)))


class GlobalMaximum(nn.Module):
    """Planes [N, channels, *extents] to the maximum of each, [N, channels]."""

    def forward(self, planes: Tensor) -> Tensor:
        """Maximum over space."""
        return planes.amax(dim=tuple(range(2, planes.ndim)))


def scaled_planes(task: Task) -> nn.Sequential:
    """From the input as the service sends it to float32 planes."""
    return named(planes=Planes(), scaled=Scaled(task))


def stage(channels: int, filters: int, numbers: Iterable[str] = ("1", "2"), rank: int = 2) -> nn.Sequential:
    """Convolutions, each normalised and activated, then pooling: [N, channels, h, w] to [N, filters, h/2, w/2].

    A convolution is 3 wide in each of the `rank` directions of space and keeps their extents; it has no bias, for the
    normalisation after it has one.
    """
    modules: dict[str, nn.Module] = {}
    for number in numbers:
        modules[f"conv{number}"] = CONVOLUTION[rank](channels, filters, 3, padding=1, bias=False)
        modules[f"norm{number}"] = NORMALISATION[rank](filters)
        modules[f"relu{number}"] = nn.ReLU()
        channels = filters
    return named(**modules, pool=POOLING[rank](2))


def named(**modules: nn.Module) -> nn.Sequential:
    """A chain of modules under their names."""
    return nn.Sequential(OrderedDict(modules))
