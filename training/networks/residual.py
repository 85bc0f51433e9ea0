"""Residual: a deep network of few parameters (K. He et al., "Deep residual learning for image recognition", 2015)."""

import torch
from torch import Tensor, nn

from training.data.examples import Task
from training.networks.blocks import GlobalAverage, named, scaled_planes


class Block(nn.Module):
    """Two convolutions whose result is added to what went in: [N, channels, h, w] to [N, filters, h/step, w/step].

    Where the shapes differ, what went in is averaged down and its missing channels are zeros: that costs no weights.
    """

    def __init__(self, channels: int, filters: int, step: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, step, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(filters)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(filters)
        self.pool = nn.AvgPool2d(step, ceil_mode=True) if step > 1 else None
        self.missing = filters - channels
        self.relu2 = nn.ReLU()

    def forward(self, planes: Tensor) -> Tensor:
        """Planes to planes."""
        change = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(planes)))))
        kept = self.pool(planes) if self.pool else planes
        if self.missing:
            kept = torch.nn.functional.pad(kept, (0, 0, 0, 0, 0, self.missing))
        result: Tensor = self.relu2(kept + change)
        return result


class Residual(nn.Module):
    """A stem, then stages of two blocks, two and one; the second and third halve the extents and double the channels.

    A second block in the last stage would hold two fifths of all weights. Then global average pooling and dense. uint8
    [N, height, width, channels] in, logits float32 [N, outputs] out.
    """

    def __init__(self, task: Task, width: int) -> None:
        super().__init__()
        self.input = scaled_planes(task)
        convolution = nn.Conv2d(task.input.channels, width, 3, padding=1, bias=False)
        self.stem = named(conv=convolution, norm=nn.BatchNorm2d(width), relu=nn.ReLU())
        self.stage1 = named(block1=Block(width, width), block2=Block(width, width))
        self.stage2 = named(block1=Block(width, 2 * width, step=2), block2=Block(2 * width, 2 * width))
        self.stage3 = named(block1=Block(2 * width, 4 * width, step=2))
        self.pool = GlobalAverage()
        self.head = nn.Linear(4 * width, task.outputs)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels to logits."""
        features = self.stage3(self.stage2(self.stage1(self.stem(self.input(pixels)))))
        logits: Tensor = self.head(self.pool(features))
        return logits
