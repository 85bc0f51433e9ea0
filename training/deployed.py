"""Deployed: a network as it is served, which answers in probabilities."""

from torch import Tensor, nn

from training.data.examples import Task


class Temperature(nn.Module):
    """Divide logits by a temperature: the same classes, probabilities less sure (above 1) or more so (below)."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, logits: Tensor) -> Tensor:
        """Logits to logits."""
        return logits / self.value


class Deployed(nn.Module):
    """What a model file computes: the network, the temperature, then softmax, or sigmoid for yes or no.

    Inputs as the service sends them; probabilities float32 [N, outputs], where a single one is the second label's.
    """

    def __init__(self, network: nn.Module, task: Task, temperature: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.temperature = Temperature(temperature) if temperature != 1 else nn.Identity()
        self.activation = nn.Sigmoid() if task.kind == "binary" else nn.Softmax(dim=1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs to probabilities."""
        probabilities: Tensor = self.activation(self.temperature(self.network(inputs)))
        return probabilities
