"""What a network costs at any size of picture, read off the network itself without holding a single weight."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from training.compare.figures import Cost, Size
from training.config import Recipe
from training.data.examples import Task
from training.networks.dense import Dense
from training.networks.table import build, parameters

SIZES = ((32, 32, 3), (224, 224, 3), (480, 640, 3), (1080, 1920, 3), (3000, 4000, 3))
HUNDRED = 100


def cost(recipe: Recipe, task: Task) -> Cost:
    """Count parameters, and multiply-adds on one picture."""
    network = weightless(recipe, task)
    picture = torch.empty(1, *task.input.shape, dtype=torch.uint8, device="meta")
    counts: list[int] = []

    def count(module: nn.Module, _: tuple[Tensor, ...], made: Tensor) -> None:
        assert isinstance(module.weight, Tensor)
        counts.append(module.weight[0].numel() * made.numel())  # each value is a sum over one row of the weights

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    network.eval()(picture)
    dense = sum(parameters(module) for module in network.modules() if isinstance(module, nn.Linear))
    return Cost(parameters=parameters(network), multiply_adds=sum(counts), dense=dense)


def weightless(recipe: Recipe, task: Task) -> nn.Module:
    """The recipe's network on torch's device `meta`, where tensors have a shape and no values."""
    with torch.device("meta"):
        return build(recipe, task)


def sized(task: Task, height: int, width: int, channels: int) -> Task:
    """The same task on pictures of another size."""
    colour = "GREY" if channels == 1 else "RGB"
    card = task.input.model_copy(update={"size": (height, width), "channels": channels, "colour": colour})
    return replace(task, input=card, mean=(task.mean * channels)[:channels], std=(task.std * channels)[:channels])


def sizes(dense: Recipe, convolutional: Recipe, task: Task) -> tuple[Size, ...]:
    """What both cost, from the data's own size of picture to a photo of 12 megapixels."""
    height, width = task.input.size
    own = (height, width, task.input.channels)
    return tuple(
        Size(
            height=size[0],
            width=size[1],
            channels=size[2],
            hundred=hundred(sized(task, *size)),
            dense=cost(dense, sized(task, *size)),
            convolutional=cost(convolutional, sized(task, *size)),
        )
        for size in dict.fromkeys((own, *SIZES))
    )


def hundred(task: Task) -> int:
    """Weights of a first dense layer of a hundred neurons."""
    with torch.device("meta"):
        layer = Dense(task, HUNDRED).hidden1.get_submodule("dense")
    assert isinstance(layer.weight, Tensor)
    return layer.weight.numel()
