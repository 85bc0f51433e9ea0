"""Recipes: everything that decides how a network is trained, one frozen object a name. Flags override its fields."""

import argparse
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TypeVar

from service.errors import InvalidRequest, UnknownName

Value = str | int | float | bool
T = TypeVar("T", str, int, float)

PRECISIONS = ("float32", "bfloat16")
MOST_SEED = 2**63 - 1  # as torch has it
OF_THE_NETWORK = ("network", "width", "momentum", "weight_decay", "bias_rate", "logit_scale")
"""Fields of the recipe that suit a network, whatever it learns: they are taken over with its weights."""


def about(text: str, default: T) -> T:
    """Make a recipe's field of its default and the line that `--help` shows for its flag."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Recipe:
    """How one network is trained. Every field is a flag: `label_smoothing` is `--label-smoothing`."""

    data: str = about("data set, by name", "fashion-mnist")
    network: str = about("network, by name, or torchvision:NAME", "plain")
    width: int = about("channels of the first convolution; each stage doubles them", 32)
    size: int = about("edge in pixels of your own pictures, as the network is given them", 64)
    seed: int = about("of weights, split, order and augmentation", 1)
    held_out: int = about("training pictures set aside to choose the checkpoint", 5000)
    epochs: int = about("times that every picture is seen", 18)
    batch: int = about("pictures a step", 128)
    learning_rate: float = about("peak of the one-cycle schedule", 0.1)
    warmup: float = about("share of all steps in which the learning rate rises", 0.25)
    momentum: float = about("of stochastic gradient descent, Nesterov's form", 0.9)
    weight_decay: float = about("pull of every weight towards zero", 5e-4)
    bias_rate: float = about("learning rate of biases, as a multiple of the others'", 1.0)
    logit_scale: float = about("factor of the logits in the loss: below 1 it slows the last layer down", 1.0)
    precision: str = about("float32, or bfloat16 in forward and backward: faster where the processor has it", "float32")
    label_smoothing: float = about("probability spread over the wrong labels", 0.05)
    averaging: float = about("decay a step of the running average of the weights, which is what is kept", 0.995)
    flip: float = about("probability of mirroring left to right", 0.5)
    shift: int = about("pixels by which a picture moves at most, in each direction", 2)
    erase: float = about("probability of blacking out a patch", 0.5)
    erase_share: float = about("largest share of the picture that such a patch covers", 0.2)

    def __post_init__(self) -> None:
        """Refuse what cannot be trained. Raises InvalidRequest with the flag's name."""
        for names, least, most in (
            (("width", "held_out", "epochs", "batch"), 1, math.inf),
            (("size",), 1, 4096),
            (("learning_rate", "weight_decay", "bias_rate", "logit_scale", "shift"), 0, math.inf),
            (("seed",), 0, MOST_SEED),
            (("warmup", "momentum", "label_smoothing", "averaging", "flip", "erase", "erase_share"), 0, 1),
        ):
            for name in names:
                if not least <= getattr(self, name) <= most or math.isinf(getattr(self, name)):
                    limits = f"at least {least}" if most == math.inf else f"from {least} to {most}"
                    raise InvalidRequest(f"--{name.replace('_', '-')} must be {limits}, not {getattr(self, name)}")
        if not self.bias_rate:
            raise InvalidRequest("--bias-rate must be above 0")
        if self.precision not in PRECISIONS:
            raise UnknownName("precision", self.precision, PRECISIONS)


# Rate, momentum, decay, smoothing, shift and the scale of biases as for the network of 96 % in K. Jordan, "94% on
# CIFAR-10 in 3.29 seconds on a single GPU", 2024.
CIFAR = Recipe(
    data="cifar10",
    network="whitened-deep",
    width=48,
    held_out=1000,
    epochs=36,
    batch=512,
    learning_rate=0.6,
    warmup=0.1,
    momentum=0.85,
    weight_decay=1.3e-3,
    bias_rate=64,
    logit_scale=0.2,
    label_smoothing=0.2,
    averaging=0.995,
    shift=4,
    erase=1,
    erase_share=0.14,
)

RECIPES: dict[str, Recipe] = {
    "fashion-mnist": Recipe(),
    "mnist": Recipe(data="mnist", width=16, epochs=8, flip=0, erase=0),
    "cifar10": CIFAR,
    "cifar100": replace(CIFAR, data="cifar100"),
    "cats-dogs": replace(
        CIFAR,
        data="cats-dogs",
        network="whitened",
        epochs=40,
        batch=256,
        learning_rate=0.4,
        weight_decay=2e-3,
        warmup=0.25,
        averaging=0.99,
        shift=2,
        erase=0.5,
    ),
    "folder": Recipe(
        data="folder", network="whitened", width=32, epochs=40, batch=32, learning_rate=0.1, averaging=0.98, shift=4
    ),
    "mnist1d": Recipe(data="mnist1d", held_out=400, epochs=60, learning_rate=0.05, averaging=0.98, flip=0, erase=0),
    "modelnet10": Recipe(
        data="modelnet10", width=12, held_out=400, epochs=20, batch=32, learning_rate=0.03, averaging=0.99, erase=0
    ),
}


def add_flags(parser: argparse._ActionsContainer) -> None:
    """Give `parser`, or a group of one, one optional flag for each field of Recipe, of the type of its default."""
    for item in fields(Recipe):
        parser.add_argument(
            f"--{item.name.replace('_', '-')}",
            type=type(item.default),
            default=argparse.SUPPRESS,
            metavar=type(item.default).__name__.upper(),
            help=item.metadata["help"],
        )


def overridden(recipe: Recipe, flags: Mapping[str, object]) -> Recipe:
    """`recipe` with those of its fields replaced that `flags` (parsed arguments by name) holds."""
    names = {item.name for item in fields(Recipe)}
    return replace(recipe, **{name: value for name, value in flags.items() if name in names})  # type: ignore[arg-type]


def command(name: str, recipe: Recipe, start: str = "") -> str:
    """Write the command that trains `recipe`: a flag for each field that differs from the table's.

    `name` is the recipe's, or for your own pictures the model's; `start` is the flag of the weights to begin with, with
    which a flag is given for all that would be taken over from them.
    """
    taken = (*OF_THE_NETWORK, "learning_rate", "size") if start else ()
    own = recipe.data == "folder"
    values, usual = as_values(recipe), as_values(RECIPES["folder" if own else name])
    said = {key: value for key, value in values.items() if value != usual[key] or key in taken}
    flags = [f" --{key.replace('_', '-')} {value}" for key, value in said.items()]
    return f"python -m training train {name}{' --folder DIR' * own}{f' {start}' * bool(start)}{''.join(flags)}"


def as_values(recipe: Recipe) -> dict[str, Value]:
    """Every field by name, as the model card and a run's record keep them; `Recipe(**values)` is its inverse."""
    return asdict(recipe)
