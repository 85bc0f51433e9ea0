"""Modules as strangers write them: some good, some not."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision import models

SIZE = 8


def resnet() -> nn.Module:
    """Torchvision's resnet18 for three labels, its weights drawn by a seed, its normalisations worth folding."""
    torch.manual_seed(3)
    network: nn.Module = models.resnet18(num_classes=3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return network


def small(outputs: int = 3, *after: nn.Module) -> nn.Module:
    """Convolution, activation in place, mean, dense; RGB."""
    torch.manual_seed(4)
    body = (nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*body, nn.Linear(4, outputs), *after)


def one_score() -> nn.Module:
    """For a yes-or-no question."""
    return small(1)


def sure() -> nn.Module:
    """It yields probabilities already."""
    return small(3, nn.Softmax(dim=1))


def tied() -> nn.Module:
    """Two layers of one weight."""
    torch.manual_seed(6)
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), first, second)


class Above(nn.Module):
    """Which values are at least the mean of their row: bool."""

    def forward(self, values: Tensor) -> Tensor:
        return values >= values.mean(1, keepdim=True)


class Masked(nn.Module):
    """The others at minus infinity, as attention masks them."""

    def __init__(self) -> None:
        super().__init__()
        self.above = Above()

    def forward(self, values: Tensor) -> Tensor:
        return values.masked_fill(~self.above(values), -torch.inf)


def masked() -> nn.Module:
    """Layers that yield truth values and infinities."""
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), Masked(), nn.Softmax(1), nn.Linear(4, 3)
    )


def of_signals() -> nn.Module:
    """Two channels of any length in, three scores out."""
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3))


class Made(nn.Module):
    """Whatever a function makes of the planes."""

    def __init__(self, answer: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, planes: Tensor) -> object:
        """Planes to anything."""
        return self.answer(planes)


def several() -> nn.Module:
    """It yields two tensors."""
    return Made(lambda planes: (planes, planes))


def planes() -> nn.Module:
    """It yields no row of scores."""
    return Made(lambda planes: planes)


def undecided() -> nn.Module:
    """It yields no numbers."""
    return Made(lambda planes: planes.mean((2, 3)) * torch.nan)


def choosy() -> nn.Module:
    """Its way depends on the values, which no graph can hold."""
    return Made(lambda planes: planes.mean((2, 3)) if planes.sum() > 0 else planes.amax((2, 3)))


def broken() -> nn.Module:
    """It cannot be made."""
    raise RuntimeError("out of order\nsecond line")


def text() -> str:
    """It is no module."""
    return "no module"
