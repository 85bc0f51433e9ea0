"""`python -m training evaluate`: how good a run's checkpoint, or a model's weights and its file, are."""

import argparse
from pathlib import Path

from service.inference.contract.card import Quantisation
from training.commands.places import add_places
from training.config import Recipe
from training.data.table import data_set
from training.evaluate import Predictor, by_onnx, by_torch, predict, report
from training.export import MODEL, WEIGHTS, card_of, exported, exported_recipe
from training.runs import newest, read

ABOUT = "measure a version's weights and its ONNX file on the test set"


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Describe the command's flags."""
    parser.set_defaults(command=run_evaluate)
    add_places(parser)
    parser.add_argument("--run", type=Path, help="folder of a run, to measure its checkpoint instead")
    parser.add_argument("--version", type=int, help="of the model (the newest)")


def run_evaluate(options: argparse.Namespace) -> int:
    """Measure a run's checkpoint, or a version's weights and its ONNX file."""
    if options.run:
        run = read(options.run)
        show(f"checkpoint of {options.run}", by_torch(run.deployed()), run.recipe, options.data_dir)
        return 0
    parent = options.models / options.name
    folder = parent / str(options.version) if options.version is not None else newest(parent, MODEL)
    recipe = exported_recipe(folder / MODEL)
    made = int8_form(folder / MODEL)
    if made:
        print(f"{folder} is the INT8 form of {made.source}: no weights of its own for PyTorch")
    else:
        show(f"{folder / WEIGHTS}, by PyTorch", by_torch(exported(folder)), recipe, options.data_dir)
    show(f"\n{folder / MODEL}, by onnxruntime", by_onnx(folder / MODEL), recipe, options.data_dir)
    return 0


def int8_form(file: Path) -> Quantisation | None:
    """How a file was quantised, if it was."""
    provenance = card_of(file).provenance
    return provenance.quantised if provenance else None


def show(title: str, predictor: Predictor, recipe: Recipe, data_dir: Path) -> None:
    """Print how `predictor` does on the test set."""
    data = data_set(recipe.data)
    test = data.read_test(data_dir)
    print(f"{title}\n{report(predict(predictor, test), test, data.task.labels)}")
