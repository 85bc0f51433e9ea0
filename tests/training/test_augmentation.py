from dataclasses import replace
from itertools import product

import pytest
import torch

from tests.training.conftest import TINY, Make
from training import loop
from training.config import Recipe
from training.data.augmentation import augmentation, mirrored, whose_turn
from training.data.examples import Examples
from training.distributed import Group


def test_every_picture_is_mirrored_every_second_time() -> None:
    first, second, third = (whose_turn(1000, 0.5, epoch, seed=1) for epoch in (1, 2, 3))
    assert torch.equal(first, ~second)
    assert torch.equal(first, third)
    assert 400 < int(first.sum()) < 600


@pytest.mark.parametrize(("flip", "mirrored"), [(0.0, 0), (1.0, 40)])
def test_all_or_no_pictures_are_mirrored_left_to_right(examples: Make, flip: float, mirrored: int) -> None:
    made = examples(40, 1)
    numbered = Examples(made.inputs, torch.arange(40))
    recipe = replace(TINY, flip=flip, shift=0, erase=0.0)
    [seen] = loop.shuffled(numbered, replace(recipe, batch=40), 1, Group())
    expected = made.inputs[seen.targets]
    assert torch.equal(seen.inputs, expected.flip(2) if mirrored else expected)


def test_augmentation_keeps_shape_and_dtype_and_changes_pictures(examples: Make) -> None:
    pixels = examples(30, 1).inputs
    augmented = augmentation(Recipe(), pixels.shape[1:], 1)(pixels, 0)
    assert (augmented.shape, augmented.dtype) == (pixels.shape, torch.uint8)
    assert not torch.equal(augmented, pixels)


def test_augmentation_switched_off_changes_nothing(examples: Make) -> None:
    pixels = examples(30, 1).inputs
    assert torch.equal(augmentation(Recipe(shift=0, erase=0), pixels.shape[1:], 1)(pixels, 0), pixels)


def steps_of(before: torch.Tensor, after: torch.Tensor) -> tuple[int, ...]:
    """How far an example, without its channels' axis, went round along each of its axes."""
    ways = product(*(range(-(extent // 2), (extent + 1) // 2) for extent in before.shape[:-1]))
    [found] = [way for way in ways if torch.equal(before.roll(way, tuple(range(len(way)))), after)]
    return found


@pytest.mark.parametrize(
    ("inputs", "shift"),
    [
        (torch.randn(200, 11, 2, generator=torch.Generator().manual_seed(1)), 2),
        (torch.randint(0, 256, (60, 5, 7, 5, 1), generator=torch.Generator().manual_seed(1), dtype=torch.uint8), 1),
    ],
    ids=["signals", "volumes"],
)
def test_signals_and_volumes_go_round_by_all_steps_up_to_the_shift(inputs: torch.Tensor, shift: int) -> None:
    augmented = augmentation(Recipe(shift=shift), inputs.shape[1:], 1)(inputs, 0)
    assert (augmented.shape, augmented.dtype) == (inputs.shape, inputs.dtype)
    steps = [steps_of(before, after) for before, after in zip(inputs, augmented, strict=True)]
    assert [{*along} for along in zip(*steps, strict=True)] == [{*range(-shift, shift + 1)}] * (inputs.ndim - 2)


@pytest.mark.parametrize("shape", [(3, 11, 2), (3, 4, 5, 6, 1)], ids=["signals", "volumes"])
def test_those_chosen_among_signals_and_volumes_are_mirrored_along_their_width(shape: tuple[int, ...]) -> None:
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    first, second, third = mirrored(inputs, torch.tensor([True, False, True]))
    assert torch.equal(second, inputs[1])
    assert all(torch.equal(made, inputs[at].flip(-2)) for made, at in ((first, 0), (third, 2)))
