"""Networks by name."""

from collections.abc import Callable

from torch import nn

from service.errors import UnknownName
from training.config import Recipe
from training.data.examples import Task
from training.networks.dense import Dense
from training.networks.plain import Plain
from training.networks.residual import Residual
from training.networks.whitened import Whitened

NETWORKS: dict[str, Callable[[Task, int], nn.Module]] = {
    "dense": Dense,
    "plain": Plain,
    "residual": Residual,
    "whitened": Whitened,
}


def build(recipe: Recipe, task: Task) -> nn.Module:
    """Make the recipe's network, its weights drawn from torch's global generator. Raises UnknownName."""
    if recipe.network not in NETWORKS:
        raise UnknownName("network", recipe.network, NETWORKS)
    return NETWORKS[recipe.network](task, recipe.width)


def parameters(network: nn.Module) -> int:
    """How many numbers the network holds that came of training."""
    return sum(weight.numel() for weight in network.parameters())
