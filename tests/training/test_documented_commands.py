"""The command lines that the documents show: the parser takes them, and they make what stands beside them."""

import re
import shlex
from pathlib import Path

import pytest

from training.__main__ import parser
from training.commands.places import recipe_of
from training.config import overridden
from training.export import MODEL, WEIGHTS, exported_recipe

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "models" / "README.md"]
OLDER = ROOT / "models/fashion-mnist/1"  # random numbers have been drawn in another way since
TRAINED = sorted({path.parent for path in (ROOT / "models").glob(f"*/*/{WEIGHTS}")} - {OLDER})


def commands(text: str) -> list[list[str]]:
    lines = re.findall(
        r"^ *(?:[\w./-]*python|[\w./-]*torchrun .*) -m training (.*)$", text.replace("\\\n", " "), re.MULTILINE
    )
    return [shlex.split(line, comments=True) for line in lines]


SHOWN = [(page, words) for page in PAGES for words in commands(page.read_text())]


@pytest.mark.parametrize(("page", "words"), SHOWN, ids=[f"{page.name}: {' '.join(words)}" for page, words in SHOWN])
def test_a_command_that_is_shown_is_one(page: Path, words: list[str]) -> None:
    assert callable(parser().parse_args(words).command), page


def test_every_command_is_shown() -> None:
    assert {words[0] for _, words in SHOWN} == {"train", "export", "evaluate", "compare", "quantize", "derive"}


@pytest.mark.parametrize("version", TRAINED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_command_beside_a_model_is_of_the_recipe_that_made_it(version: Path) -> None:
    name = f"{version.parent.name}/{version.name}"
    [section] = [part for part in PAGES[-1].read_text().split("\n## ") if part.startswith(f"{name}\n")]
    [words] = [words for words in commands(section) if words[0] == "train"]
    options = parser().parse_args(words)
    assert overridden(recipe_of(options.name), vars(options)) == exported_recipe(version / MODEL)
