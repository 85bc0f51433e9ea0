"""Networks by name."""

from collections.abc import Callable
from functools import partial

from torch import nn

from service.errors import InvalidRequest, UnknownName
from training.config import Recipe
from training.data.examples import Task
from training.networks.dense import Dense
from training.networks.plain import Plain
from training.networks.pretrained import PREFIX, Backbone
from training.networks.residual import Residual
from training.networks.whitened import Whitened

NETWORKS: dict[str, Callable[[Task, int], nn.Module]] = {
    "dense": Dense,
    "plain": Plain,
    "residual": Residual,
    "whitened": Whitened,
    "whitened-deep": partial(Whitened, deep=True),
}

OF_PICTURES = ("residual", "whitened", "whitened-deep")  # the others take signals and volumes, too


def build(recipe: Recipe, task: Task) -> nn.Module:
    """Make the recipe's network, its weights drawn from torch's global generator.

    "torchvision:NAME" is torchvision's network of that name. Raises UnknownName, InvalidRequest.
    """
    backbone = recipe.network.startswith(PREFIX)
    if not backbone and recipe.network not in NETWORKS:
        raise UnknownName("network", recipe.network, [*NETWORKS, f"{PREFIX}mobilenet_v3_small"])
    if task.input.kind != "image" and (backbone or recipe.network in OF_PICTURES):
        raise InvalidRequest(f"network {recipe.network} takes pictures, and the data holds {task.input.kind}s")
    if backbone:
        return Backbone(task, recipe.network.removeprefix(PREFIX))
    return NETWORKS[recipe.network](task, recipe.width)


def parameters(network: nn.Module) -> int:
    """How many numbers the network holds in its parameters, those included that are computed or fixed."""
    return sum(weight.numel() for weight in network.parameters())
