"""Networks by name. Their module names are the names of the layers that the service shows."""

from collections import OrderedDict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from service.errors import UnknownName
from training.config import Recipe
from training.data import DataSet, data_set


WHITENED_AT_LEAST = 5e-4  # added to each eigenvalue, so that directions in which nothing varies stay small


class Planes(nn.Module):
    """uint8 pixels [N, height, width, channels] to planes [N, channels, height, width], as convolutions want them."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Move the channels forward; a view, nothing is copied."""
        return pixels.permute(0, 3, 1, 2)


class Scaled(nn.Module):
    """uint8 planes to float32 of mean 0 and spread 1 per channel, by the data set's own mean and spread."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", 255 * torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).reshape(1, -1, 1, 1))

    def forward(self, planes: Tensor) -> Tensor:
        """Subtract the mean, divide by the spread."""
        return (planes.float() - self.mean) / self.std


class Plain(nn.Module):
    """The classic form: convolution, normalisation, activation, pooling, again and again; then flatten and dense.

    Each pooling halves height and width, each stage doubles the channels. uint8 [N, height, width, channels] in, as
    the service sends it; logits float32 [N, labels] out.
    """

    def __init__(self, data: DataSet, width: int) -> None:
        super().__init__()
        height, breadth = data.input.size
        self.input = named(planes=Planes(), scaled=Scaled(data.mean, data.std))
        self.stem = stage(data.input.channels, width, [""])
        self.stage1 = stage(width, 2 * width)
        self.stage2 = stage(2 * width, 4 * width)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(4 * width * (height // 8) * (breadth // 8), len(data.labels))

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels to logits."""
        features = self.stage2(self.stage1(self.stem(self.input(pixels))))
        logits: Tensor = self.head(self.flatten(features))
        return logits


def stage(channels: int, filters: int, numbers: Iterable[str] = ("1", "2")) -> nn.Sequential:
    """Convolutions, each normalised and activated, then pooling: [N, channels, h, w] to [N, filters, h/2, w/2].

    A convolution is 3x3 and keeps height and width; it has no bias, for the normalisation after it has one.
    """
    modules: dict[str, nn.Module] = {}
    for number in numbers:
        modules[f"conv{number}"] = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
        modules[f"norm{number}"] = nn.BatchNorm2d(filters)
        modules[f"relu{number}"] = nn.ReLU()
        channels = filters
    return named(**modules, pool=nn.MaxPool2d(2))


class Whitening(nn.Conv2d):
    """A first convolution that is computed, not learnt: it turns 2x2 patches into uncorrelated values of spread 1.

    Its kernels are the eigenvectors of the covariance of all patches, each divided by the root of its eigenvalue, and
    the same once more with the sign turned, as the activation after it keeps only one side. Only its bias is learnt.
    After K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024.
    """

    def __init__(self, channels: int, size: int = 2) -> None:
        super().__init__(channels, 2 * channels * size**2, size)
        self.weight.requires_grad_(False)

    @torch.no_grad()
    def fit(self, planes: Tensor) -> None:
        """Compute the kernels from float32 planes [N, channels, height, width]."""
        patches = nn.functional.unfold(planes, self.kernel_size).transpose(1, 2).reshape(-1, self.weight[0].numel())
        spreads, directions = torch.linalg.eigh(patches.T.cov())
        kernels = (directions / (spreads + WHITENED_AT_LEAST).sqrt()).T.reshape(-1, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([kernels, -kernels]))


class Whitened(nn.Module):
    """Whitening, then three stages of two convolutions, the first of them pooled; then pooling, flatten and dense.

    The convolutions begin as the identity as far as they can (Dirac), so that depth costs nothing at first; the
    normalisation has no scale, only a bias. uint8 [N, height, width, channels] in, logits float32 [N, labels] out.
    After K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, with ReLU and an average at the end.
    """

    def __init__(self, data: DataSet, width: int) -> None:
        super().__init__()
        self.input = named(planes=Planes(), scaled=Scaled(data.mean, data.std))
        whitening = Whitening(data.input.channels)
        self.stem = named(whitening=whitening, relu=nn.ReLU())
        self.stage1 = halved(whitening.out_channels, width)
        self.stage2 = halved(width, 4 * width)
        self.stage3 = halved(4 * width, 4 * width)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(4 * width, len(data.labels), bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels to logits."""
        features = self.stage3(self.stage2(self.stage1(self.stem(self.input(pixels)))))
        logits: Tensor = self.head(self.flatten(self.pool(features)))
        return logits

    def fit(self, pixels: Tensor) -> None:
        """Compute the first layer from pictures, uint8 [N, height, width, channels]."""
        self.stem.whitening.fit(self.input(pixels))  # type: ignore[operator]


def halved(channels: int, filters: int) -> nn.Sequential:
    """Two convolutions, the first one pooled: [N, channels, h, w] to [N, filters, h/2, w/2]."""
    modules = named(
        conv1=nn.Conv2d(channels, filters, 3, padding=1, bias=False),
        pool=nn.MaxPool2d(2),
        norm1=nn.BatchNorm2d(filters, momentum=0.4),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(filters, filters, 3, padding=1, bias=False),
        norm2=nn.BatchNorm2d(filters, momentum=0.4),
        relu2=nn.ReLU(),
    )
    for module in modules:
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight[: module.in_channels])
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.requires_grad_(False)
    return modules


def named(**modules: nn.Module) -> nn.Sequential:
    """A chain of modules under their names."""
    return nn.Sequential(OrderedDict(modules))


NETWORKS: dict[str, Callable[[DataSet, Recipe], nn.Module]] = {
    "plain": lambda data, recipe: Plain(data, recipe.width),
    "whitened": lambda data, recipe: Whitened(data, recipe.width),
}


def build(recipe: Recipe) -> nn.Module:
    """Make the recipe's network, its weights drawn from torch's global generator. Raises UnknownName."""
    if recipe.network not in NETWORKS:
        raise UnknownName("network", recipe.network, NETWORKS)
    return NETWORKS[recipe.network](data_set(recipe.data), recipe)


def parameters(network: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(weight.numel() for weight in network.parameters())
