"""Dense: no convolution at all, to see what one is worth."""

import math

from torch import Tensor, nn

from training.data.examples import Task
from training.networks.blocks import named, scaled_planes


class Dense(nn.Module):
    """Flatten, then two hidden layers, each activated: `width` and half as many neurons.

    Inputs [N, *extents, channels], as the service sends them; logits float32 [N, outputs].
    """

    def __init__(self, task: Task, width: int) -> None:
        super().__init__()
        self.input = scaled_planes(task)
        self.flatten = nn.Flatten()
        values = task.input.channels * math.prod(task.input.size)
        self.hidden1 = named(dense=nn.Linear(values, width), relu=nn.ReLU())
        self.hidden2 = named(dense=nn.Linear(width, width // 2), relu=nn.ReLU())
        self.head = nn.Linear(width // 2, task.outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs to logits."""
        logits: Tensor = self.head(self.hidden2(self.hidden1(self.flatten(self.input(inputs)))))
        return logits
