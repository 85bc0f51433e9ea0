"""Starting from trained weights: of a model exported here, or of torchvision's; the head is always a new one."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from service.errors import InvalidRequest
from service.inference.contract.card import InputCard
from training.config import OF_THE_NETWORK, Recipe
from training.data.examples import DataMissing, Task
from training.export import MODEL, WEIGHTS, card_of, exported_recipe
from training.folders import newest
from training.networks.pretrained import pretrained_weights
from training.networks.table import build
from training.state_dict import COUNTER

GENTLER = 0.5  # times the learning rate: what is known already shall be bent, not broken


@dataclass(frozen=True)
class Start:
    """Trained weights to begin with, and what they were trained for."""

    flag: str  # which names it on the command line, without a path of this machine
    origin: str  # one line: which weights these are
    weights: Mapping[str, Tensor]
    recipe: Recipe | None = None
    input: InputCard | None = None

    def recipe_for(self, recipe: Recipe, given: Mapping[str, object]) -> Recipe:
        """`recipe`, less what the flags do not `given`: those fields that suit the network are taken over from it.

        The learning rate is gentler than that of before, and goes with the batch (P. Goyal et al., "Accurate, large
        minibatch SGD", 2017).
        """
        if self.recipe is None:
            return recipe
        taken = {name: getattr(self.recipe, name) for name in OF_THE_NETWORK}
        taken["learning_rate"] = round(GENTLER * self.recipe.learning_rate * recipe.batch / self.recipe.batch, 6)
        if self.input is not None:
            taken["size"] = self.input.size[0]
        return replace(recipe, **{name: value for name, value in taken.items() if name not in given})

    def fitted(self, recipe: Recipe, task: Task) -> dict[str, Tensor]:
        """The weights that the recipe's network takes over: all but the head's. Raises InvalidRequest."""
        if self.input is not None and self.input.channels != task.input.channels:
            raise InvalidRequest(
                f"{self.origin} takes {self.input.channels} channel(s), the data has {task.input.channels}"
            )
        network = build(recipe, task)
        head = head_of(network)
        wanted = {name: value for name, value in network.state_dict().items() if not name.startswith(f"{head}.")}
        for name, value in wanted.items():
            found = self.weights.get(name)
            if found is None and name.endswith(COUNTER):
                continue
            if found is None or found.shape != value.shape:
                raise InvalidRequest(
                    f"the weights of {self.origin} do not fit network {recipe.network} of width {recipe.width}: "
                    f"{name} is {'missing' if found is None else f'{tuple(found.shape)}, not {tuple(value.shape)}'}"
                )
        return {name: self.weights[name] for name in wanted if name in self.weights}


def start_from_model(folder: Path) -> Start:
    """Take the weights of a model's folder, of its newest version, or of a version's folder.

    Raises DataMissing, ExportRefused, RunMissing.
    """
    version = folder if (folder / MODEL).is_file() else newest(folder, MODEL)
    version = version.resolve()
    name = f"{version.parent.name}/{version.name}"
    card, recipe = card_of(version / MODEL), exported_recipe(version / MODEL)
    try:
        data = (version / WEIGHTS).read_bytes()
        weights = load(data)
    except (OSError, SafetensorError) as error:
        raise DataMissing(f"{version / WEIGHTS} is not there, or cannot be read") from error
    digest = hashlib.sha256(data).hexdigest()
    return Start(f"--from models/{name}", f"{name} (weights' sha256 {digest})", weights, recipe, card.input)


def start_pretrained(network: str) -> Start:
    """Take torchvision's weights for `network`, "torchvision:NAME". Raises InvalidRequest, DataMissing."""
    weights, origin = pretrained_weights(network)
    return Start("--pretrained", origin, weights)


def head_of(network: nn.Module) -> str:
    """The name of the last module that holds weights: what turns features into the scores of the labels."""
    holding: list[str] = [
        name for name, module in network.named_modules() if next(module.parameters(recurse=False), None) is not None
    ]
    return holding[-1]
