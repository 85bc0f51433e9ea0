from dataclasses import replace

import pytest
import torch

from tests.training.conftest import TINY, Make
from training import loop
from training.config import Recipe
from training.data.augmentation import augmentation, whose_turn
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
