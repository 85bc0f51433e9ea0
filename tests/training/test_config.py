import argparse
from dataclasses import FrozenInstanceError, fields

import pytest

from service.errors import InvalidRequest
from training.config import RECIPES, Recipe, add_flags, as_values, command, overridden


def parsed(*arguments: str) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return vars(parser.parse_args(arguments))


def test_every_field_of_a_recipe_has_a_flag_with_help() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = parser.format_help()
    for item in fields(Recipe):
        assert f"--{item.name.replace('_', '-')} " in text
        assert item.metadata["help"]


def test_flags_override_only_the_fields_they_name() -> None:
    recipe = overridden(RECIPES["fashion-mnist"], parsed("--epochs", "3", "--learning-rate", "0.5"))
    changed = {name for name, value in as_values(recipe).items() if value != as_values(RECIPES["fashion-mnist"])[name]}
    assert (recipe.epochs, recipe.learning_rate) == (3, 0.5)
    assert changed == {"epochs", "learning_rate"}


def test_without_flags_the_recipe_is_the_tables() -> None:
    assert overridden(RECIPES["fashion-mnist"], parsed()) == RECIPES["fashion-mnist"]


def test_a_recipe_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        RECIPES["fashion-mnist"].epochs = 1  # type: ignore[misc]


def test_a_recipe_survives_the_way_through_its_values() -> None:
    recipe = Recipe(seed=7, flip=0.25)
    assert Recipe(**as_values(recipe)) == recipe  # type: ignore[arg-type]


def test_the_command_of_a_recipe_makes_the_same_recipe_again() -> None:
    recipe = Recipe(seed=7, width=8, erase=0.0)
    words = command("fashion-mnist", recipe).split()
    assert words[:5] == ["python", "-m", "training", "train", "fashion-mnist"]
    assert overridden(RECIPES["fashion-mnist"], parsed(*words[5:])) == recipe


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch", -1),
        ("flip", 1.5),
        ("shift", -2),
        ("learning_rate", float("nan")),
        ("weight_decay", float("inf")),
        ("bias_rate", 0.0),
    ],
)
def test_a_senseless_value_is_refused_by_its_flag(field: str, value: float) -> None:
    with pytest.raises(InvalidRequest, match=f"--{field.replace('_', '-')} must be"):
        Recipe(**{field: value})  # type: ignore[arg-type]
