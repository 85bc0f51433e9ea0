"""The contest: which networks are trained, in which variants, so that the comparison is fair."""

from bisect import bisect_left
from dataclasses import replace

from torch import nn

from service.errors import InvalidRequest
from training.compare.cost import cost, weightless
from training.compare.figures import Contender, Network, Variant
from training.config import Recipe
from training.data.examples import Task

NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
LEAST, MOST = 2, 1 << 20  # neurons of a dense network's first layer; the second has half as many


def contest(recipe: Recipe, task: Task) -> dict[Network, Recipe]:
    """The recipe as it is, and for a dense network of as many parameters. Raises InvalidRequest."""
    if task.input.kind != "image":
        raise InvalidRequest(f"compare shifts and covers pictures, and {recipe.data} holds none")
    if recipe.network == "dense":
        raise InvalidRequest("--network must be a convolutional one: the dense one is there already")
    if not (recipe.shift or recipe.erase):
        raise InvalidRequest("--shift and --erase are both 0: one of two variants is to learn from what they do")
    return {"dense": matched(recipe, task), "convolutional": recipe}


def matched(recipe: Recipe, task: Task) -> Recipe:
    """The recipe for a dense network, of the width whose parameters are nearest to those of the recipe's network."""

    def parameters(width: int) -> int:
        return cost(replace(recipe, network="dense", width=width), task).parameters

    wanted = cost(recipe, task).parameters
    above = LEAST + bisect_left(range(LEAST, MOST), wanted, key=parameters)
    nearest = min((max(LEAST, above - 1), above), key=lambda width: abs(parameters(width) - wanted))
    return replace(recipe, network="dense", width=nearest)


def varied(recipe: Recipe, variant: Variant) -> Recipe:
    """The recipe as it is, or with what would teach to bear shifts and patches taken out."""
    return recipe if variant == "taught" else replace(recipe, shift=0, erase=0)


def contender(recipe: Recipe, task: Task) -> Contender:
    """A network as it stands in the figures."""
    return Contender(
        network=recipe.network,
        width=recipe.width,
        normalises=any(isinstance(module, NORMALISATIONS) for module in weightless(recipe, task).modules()),
        cost=cost(recipe, task),
    )
