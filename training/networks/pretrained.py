"""Torchvision's networks, with a head of their own size; and the weights that others trained for them."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from service.errors import InvalidRequest, UnknownName
from training.data.examples import DataMissing, Task, first_line
from training.networks.blocks import scaled_planes

PREFIX = "torchvision:"
SEVERAL_ANSWERS = ("googlenet", "inception_v3")  # while they learn they yield more than one tensor of logits
VERSIONED = "mnasnet"  # takes no weights without the version that torch.save notes beside them
COLOURS = 3


class Backbone(nn.Module):
    """A network of torchvision's for pictures, by its name there; grey ones are given three times the same channel.

    uint8 [N, height, width, channels] in, logits float32 [N, outputs] out.
    """

    def __init__(self, task: Task, name: str) -> None:
        super().__init__()
        known = known_backbones()
        if name not in known:
            raise UnknownName("network of torchvision", name, known)
        self.input = scaled_planes(task)
        self.backbone: nn.Module = models.get_model(name, weights=None, num_classes=task.outputs)
        for module in self.backbone.modules():
            if hasattr(module, "inplace"):
                module.inplace = False  # a layer's answer stays as it was for whoever looks at it
        self.repeat = COLOURS // task.input.channels

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels to logits."""
        planes = self.input(pixels)
        logits: Tensor = self.backbone(planes.expand(-1, COLOURS, -1, -1) if self.repeat > 1 else planes)
        return logits


def known_backbones() -> list[str]:
    """Names that torchvision has for networks that tell pictures apart."""
    names: list[str] = models.list_models(module=models)
    return [name for name in names if name not in SEVERAL_ANSWERS and not name.startswith(VERSIONED)]


def pretrained_weights(network: str) -> tuple[dict[str, Tensor], str]:
    """What torchvision's authors trained on ImageNet for `network`, "torchvision:NAME", and what they call it.

    The weights bear the names that they have in a Backbone; with them come the mean and spread of their pictures. They
    are downloaded where torch's cache lacks them. Raises InvalidRequest, DataMissing.
    """
    if not network.startswith(PREFIX):
        raise InvalidRequest(f"--pretrained is for --network {PREFIX}NAME, not for {network}; see --from for others")
    name = network.removeprefix(PREFIX)
    if name not in known_backbones():
        raise UnknownName("network of torchvision", name, known_backbones())
    weights: Any = models.get_model_weights(name).DEFAULT
    file = weights.url.rsplit("/", 1)[-1]
    try:
        values = models.get_model(name, weights=weights, progress=False).state_dict()
    except Exception as error:  # no network, no space, a damaged file: torch raises a dozen types
        raise DataMissing(
            f"{weights} cannot be had ({first_line(error)}): put {file} from download.pytorch.org/models into "
            f"{torch.hub.get_dir()}/checkpoints, or train without --pretrained"
        ) from error
    seen = weights.transforms()
    figures = {name: torch.tensor(getattr(seen, name)).reshape(1, -1, 1, 1) * 255 for name in ("mean", "std")}
    named = {f"backbone.{key}": value for key, value in values.items()}
    return named | {f"input.scaled.{key}": value for key, value in figures.items()}, str(weights)
