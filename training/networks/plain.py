"""Plain: the classic form, for signals, pictures and volumes alike."""

import math

from torch import Tensor, nn

from service.errors import InvalidRequest
from training.data.examples import Task
from training.networks.blocks import scaled_planes, stage

POOLINGS = 3


class Plain(nn.Module):
    """Convolution, normalisation, activation, pooling, again and again; then flatten and dense.

    Each pooling halves the extents, each stage doubles the channels. Inputs [N, *extents, channels], as the service
    sends them; logits float32 [N, outputs]. Raises InvalidRequest when an extent is too small for that.
    """

    def __init__(self, task: Task, width: int) -> None:
        super().__init__()
        size = task.input.size
        if min(size) < 2**POOLINGS:
            raise InvalidRequest(
                f"network plain halves extents three times, and {' x '.join(map(str, size))} leave nothing"
            )
        self.input = scaled_planes(task)
        self.stem = stage(task.input.channels, width, [""], rank=len(size))
        self.stage1 = stage(width, 2 * width, rank=len(size))
        self.stage2 = stage(2 * width, 4 * width, rank=len(size))
        self.flatten = nn.Flatten()
        self.head = nn.Linear(4 * width * math.prod(extent // 2**POOLINGS for extent in size), task.outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs to logits."""
        features = self.stage2(self.stage1(self.stem(self.input(inputs))))
        logits: Tensor = self.head(self.flatten(features))
        return logits
