"""Pictures shifted and covered, and how many of them are still recognised."""

import pytest
import torch
from torch import Tensor, nn

from training.compare.hardship import (
    DIRECTIONS,
    DISTANCES,
    DRAWS,
    SIDES,
    black_edge,
    by_patch,
    by_shift,
    covered,
    shifted,
)
from training.data.examples import Examples


def test_pictures_are_shifted_by_whole_pixels_and_black_comes_in() -> None:
    picture = torch.arange(1, 13, dtype=torch.uint8).reshape(1, 3, 4, 1)
    assert shifted(picture, 1, 2)[0, ..., 0].tolist() == [[0, 0, 0, 0], [0, 0, 1, 2], [0, 0, 5, 6]]
    assert shifted(picture, -1, -1)[0, ..., 0].tolist() == [[6, 7, 8, 0], [10, 11, 12, 0], [0, 0, 0, 0]]
    assert torch.equal(shifted(picture, 0, 0), picture)
    assert len(set(DIRECTIONS)) == 8
    assert (0, 0) not in DIRECTIONS


def test_a_patch_is_a_black_square_inside_the_picture_at_places_of_its_own() -> None:
    bright = torch.full((200, 8, 9, 2), 255, dtype=torch.uint8)
    patched = covered(bright, 3, seed=1)
    black = (patched == 0).all(dim=-1)
    assert black.sum(dim=(1, 2)).tolist() == [9] * 200
    corners = set()
    for each in black.unbind():
        rows, columns = each.any(1).nonzero(), each.any(0).nonzero()
        assert int(rows.max() - rows.min()) == int(columns.max() - columns.min()) == 2
        corners.add((int(rows.min()), int(columns.min())))
    assert corners == {(row, column) for row in range(6) for column in range(7)}
    assert torch.equal(patched, covered(bright, 3, seed=1))
    assert not torch.equal(patched, covered(bright, 3, seed=2))
    assert torch.equal(covered(bright, 0, seed=1), bright)


def test_the_black_edge_is_counted_around_the_picture() -> None:
    pictures = torch.ones(2, 4, 5, 1, dtype=torch.uint8)
    pictures[:, 1:-1, 1:-1] = 0
    assert black_edge(pictures) == 0
    pictures[0, 0, :] = 0
    assert black_edge(pictures) == pytest.approx(5 / 28)


class Watching(nn.Module):
    """Sees a bright pixel if it is where it was."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Tensor) -> Tensor:
        there = (inputs[:, 10, 10, 0] > 0).float()
        return torch.stack([1 - there, there], dim=1)


def test_accuracy_is_taken_at_each_distance_in_each_direction_and_under_each_patch() -> None:
    inputs = torch.zeros(50, 28, 28, 1, dtype=torch.uint8)
    inputs[:, :11, 10] = 9  # a line from the top down to where it is looked for: moved down it is still there
    examples = Examples(inputs, torch.ones(50, dtype=torch.long))
    far = by_shift(Watching(), examples)
    assert [len(each) for each in far] == [8] * len(DISTANCES)
    assert list(far[0]) == [1] * 8
    for distance in DISTANCES[1:]:
        assert dict(zip(DIRECTIONS, far[distance], strict=True)) == {way: float(way == (1, 0)) for way in DIRECTIONS}
    patched = by_patch(Watching(), examples)
    assert [len(each) for each in patched] == [1, *[DRAWS] * (len(SIDES) - 1)]
    assert list(patched[0]) == [1]
    assert max(patched[-1]) < 0.5  # a square of 20 in a picture of 28 nearly always covers that pixel
    assert by_patch(Watching(), examples) == patched
