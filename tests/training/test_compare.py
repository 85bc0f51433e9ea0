"""Who is compared, under which conditions, and what each costs, held to something reckoned another way."""

from dataclasses import replace

import pytest
import torch

from service.errors import InvalidRequest
from tests.training.conftest import FASHION, TINY, Make
from training.compare import trainings
from training.compare.contest import contender, contest, matched, varied
from training.compare.cost import cost, sized, sizes
from training.compare.ground import Ground
from training.config import RECIPES, Recipe
from training.data.table import data_set
from training.networks.table import build, parameters

TASK = FASHION.task


def test_the_dense_network_has_the_width_whose_parameters_are_nearest() -> None:
    for recipe in (TINY, replace(TINY, width=7), RECIPES["fashion-mnist"]):
        dense = matched(recipe, TASK)
        wanted = parameters(build(recipe, TASK))

        def off(width: int, dense: Recipe = dense, wanted: int = wanted) -> int:
            return abs(parameters(build(replace(dense, width=width), TASK)) - wanted)

        assert dense == replace(recipe, network="dense", width=dense.width)
        assert off(dense.width) == min(off(width) for width in range(max(2, dense.width - 3), dense.width + 4))


def test_both_learn_by_the_same_recipe_and_the_untaught_see_neither_shifts_nor_patches() -> None:
    recipes = contest(TINY, TASK)
    assert recipes["convolutional"] == TINY
    assert replace(recipes["dense"], network=TINY.network, width=TINY.width) == TINY
    assert varied(TINY, "taught") == TINY
    assert varied(TINY, "untaught") == replace(TINY, shift=0, erase=0)


@pytest.mark.parametrize(("name", "normalises"), [("dense", False), ("plain", True), ("whitened", True)])
def test_it_is_known_who_normalises(name: str, normalises: bool) -> None:
    assert contender(replace(TINY, network=name), TASK).normalises == normalises


def test_a_training_counts_only_for_the_conditions_under_which_it_was_done(
    examples: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, test = examples(20, 1), examples(10, 2)
    ground = Ground("fashion-mnist", TASK, data, test, judged_on=5)
    now = trainings.conditions(TINY, ground)
    assert now == trainings.conditions(TINY, Ground("fashion-mnist", TASK, examples(20, 1), examples(10, 2), 5))
    others = (
        replace(ground, judged_on=4),
        replace(ground, data=data._replace(targets=data.targets.flip(0))),
        replace(ground, test=test._replace(inputs=test.inputs.flip(0))),
    )
    assert all(trainings.conditions(TINY, other) != now for other in others)
    assert trainings.conditions(replace(TINY, seed=9), ground) != now
    monkeypatch.setattr(trainings, "installed", lambda: "torch 1.0")
    other_versions = trainings.conditions(TINY, ground)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert len({each.model_dump_json() for each in (now, other_versions, trainings.conditions(TINY, ground))}) == 3


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="modelnet10 holds none"):
        contest(RECIPES["modelnet10"], data_set("modelnet10").task)
    with pytest.raises(InvalidRequest, match="--network must be a convolutional one"):
        contest(replace(TINY, network="dense"), TASK)
    with pytest.raises(InvalidRequest, match="--shift and --erase are both 0"):
        contest(replace(TINY, shift=0, erase=0), TASK)


@pytest.mark.parametrize("name", ["dense", "plain", "residual"])
def test_a_network_that_holds_nothing_costs_what_the_real_one_does(name: str) -> None:
    recipe = replace(TINY, network=name, width=4)
    assert cost(recipe, TASK).parameters == parameters(build(recipe, TASK))


def test_multiply_adds_are_those_that_a_pencil_gives() -> None:
    dense = cost(replace(TINY, network="dense", width=10), TASK)
    assert dense.multiply_adds == 784 * 10 + 10 * 5 + 5 * 10
    assert dense.dense == dense.parameters
    plain = cost(TINY, TASK)
    stem, stage1 = 28 * 28 * 9 * 1 * 2, 14 * 14 * 9 * (2 * 4 + 4 * 4)
    assert plain.multiply_adds == stem + stage1 + 7 * 7 * 9 * (4 * 8 + 8 * 8) + 3 * 3 * 8 * 10
    assert plain.dense == 3 * 3 * 8 * 10 + 10


def test_the_photo_takes_its_billions_and_the_convolution_stays_as_it_is() -> None:
    own, *colour = sizes(matched(TINY, TASK), TINY, TASK)
    assert (own.height, own.width, own.channels) == (28, 28, 1)
    assert own.hundred == 784 * 100
    photo = colour[-1]
    assert (photo.height, photo.width, photo.channels, photo.hundred) == (3000, 4000, 3, 3_600_000_000)
    alone = [each.convolutional.parameters - each.convolutional.dense for each in colour]
    assert set(alone) == {own.convolutional.parameters - own.convolutional.dense + 2 * 9 * TINY.width}


def test_a_task_of_another_size_is_the_same_otherwise() -> None:
    colour = sized(TASK, 40, 50, 3)
    assert colour.input.shape == (40, 50, 3)
    assert colour.input.colour == "RGB"
    assert colour.mean == TASK.mean * 3
    assert sized(colour, 28, 28, 1) == TASK
