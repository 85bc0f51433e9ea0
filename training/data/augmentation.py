"""Augmentation: every time an example is seen, it is seen a little differently."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

from training.config import Recipe
from training.random import seeded

TOGETHER = 4  # examples that share one random draw: v2 draws once a call, and a call for each picture is slow


def augmentation(recipe: Recipe, shape: torch.Size, epoch: int) -> Callable[[Tensor, int], Tensor]:
    """Random shifting, and for pictures erasing, of inputs [count, *shape], channels last, as the recipe says.

    What it makes of an example depends on the seed, the epoch and the example's place in it: `augment(inputs, place)`
    wants the place of the first. It seeds torch's global generator of the CPU, from which v2 draws. Same shape and
    dtype out.
    """
    transform = _of_pictures(recipe, shape) if len(shape) == 3 else _of_others(recipe, shape)

    def augment(inputs: Tensor, place: int) -> Tensor:
        cuts = tuple(range(TOGETHER - place % TOGETHER, len(inputs), TOGETHER))
        done = []
        for number, group in enumerate(torch.tensor_split(inputs.movedim(-1, 1), cuts), place // TOGETHER):
            seeded(torch.default_generator, recipe.seed, epoch, number)
            done.append(transform(group))
        return torch.cat(done).movedim(1, -1)

    return augment


def _of_pictures(recipe: Recipe, shape: torch.Size) -> Callable[[Tensor], Tensor]:
    compose: Callable[[Tensor], Tensor] = v2.Compose(
        [
            v2.RandomCrop(tuple(shape[:2]), padding=recipe.shift, padding_mode="reflect"),
            v2.RandomErasing(recipe.erase, scale=(min(0.02, recipe.erase_share), recipe.erase_share)),
        ]
    )
    return compose


def _of_others(recipe: Recipe, shape: torch.Size) -> Callable[[Tensor], Tensor]:
    """Signals and volumes go round: what leaves at one end comes in at the other."""
    axes = tuple(range(2, len(shape) + 1))

    def rolled(planes: Tensor) -> Tensor:
        steps = torch.randint(-recipe.shift, recipe.shift + 1, (len(axes),))
        return planes.roll(tuple(steps.tolist()), axes)

    return rolled


def mirrored(inputs: Tensor, chosen: Tensor) -> Tensor:
    """Turn left to right those inputs [count, ..., width, channels] for which `chosen`, bool [count], is true."""
    return torch.where(chosen.reshape(-1, *[1] * (inputs.ndim - 1)), inputs.flip(-2), inputs)


def whose_turn(count: int, share: float, epoch: int, seed: int) -> Tensor:
    """Which of `count` examples are mirrored in this epoch, bool [count].

    Each in a `share` of all epochs, evenly spread: with a half, every second time, so that both sides are seen equally
    often (K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, section 3.6).
    """
    phase = torch.rand(count, generator=torch.Generator().manual_seed(seed))
    return (phase + epoch * share) % 1 < share
