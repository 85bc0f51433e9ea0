"""Whitened: a network that learns fast, after K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024."""

from typing import cast

import torch
from torch import Tensor, nn

from training.data.examples import Task
from training.networks.blocks import GlobalAverage, named, scaled_planes

LEAST_SPREAD = 5e-4  # added to each eigenvalue, so that directions in which nothing varies stay small
MEMORY = 0.4  # share of the newest batch in the normalisations' running statistics


class Whitening(nn.Conv2d):
    """A first convolution that is computed, not learnt: it turns 2x2 patches into uncorrelated values of spread 1.

    Its kernels are the eigenvectors of the covariance of all patches, each divided by the root of its eigenvalue, and
    the same once more with the sign turned, as the activation after it keeps only one side. Only its bias is learnt.
    """

    def __init__(self, channels: int, size: int = 2) -> None:
        super().__init__(channels, 2 * channels * size**2, size)
        self.weight.requires_grad_(False)

    @torch.no_grad()
    def fit(self, planes: Tensor) -> None:
        """Compute the kernels from float32 planes [N, channels, height, width]."""
        patches = nn.functional.unfold(planes, self.kernel_size).transpose(1, 2).reshape(-1, self.weight[0].numel())
        spreads, directions = torch.linalg.eigh(patches.T.cov())
        kernels = (directions / (spreads + LEAST_SPREAD).sqrt()).T.reshape(-1, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([kernels, -kernels]))


class Whitened(nn.Module):
    """Whitening, then three stages of two convolutions, the first of them pooled; then pooling, flatten and dense.

    The convolutions begin as the identity as far as they can (Dirac), so that depth costs nothing at first; the
    normalisation has no scale, only a bias. uint8 [N, height, width, channels] in, logits float32 [N, outputs] out. Of
    Jordan's network it differs in the activation, which is ReLU, and in the last pooling, which is an average: so the
    way from the last map to the classes is linear, and class activation exact.
    """

    def __init__(self, task: Task, width: int) -> None:
        super().__init__()
        self.input = scaled_planes(task)
        whitening = Whitening(task.input.channels)
        self.stem = named(whitening=whitening, relu=nn.ReLU())
        self.stage1 = halved(whitening.out_channels, width)
        self.stage2 = halved(width, 4 * width)
        self.stage3 = halved(4 * width, 4 * width)
        self.pool = GlobalAverage()
        self.head = nn.Linear(4 * width, task.outputs, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels to logits."""
        features = self.stage3(self.stage2(self.stage1(self.stem(self.input(pixels)))))
        logits: Tensor = self.head(self.pool(features))
        return logits

    def fit(self, pixels: Tensor) -> None:
        """Compute the first layer from pictures, uint8 [N, height, width, channels]."""
        cast("Whitening", self.stem.get_submodule("whitening")).fit(self.input(pixels))


def halved(channels: int, filters: int) -> nn.Sequential:
    """Two convolutions, the first one pooled: [N, channels, h, w] to [N, filters, h/2, w/2]."""
    modules = named(
        conv1=nn.Conv2d(channels, filters, 3, padding=1, bias=False),
        pool=nn.MaxPool2d(2),
        norm1=nn.BatchNorm2d(filters, momentum=MEMORY),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(filters, filters, 3, padding=1, bias=False),
        norm2=nn.BatchNorm2d(filters, momentum=MEMORY),
        relu2=nn.ReLU(),
    )
    for module in modules:
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight[: module.in_channels])
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.requires_grad_(False)
    return modules
