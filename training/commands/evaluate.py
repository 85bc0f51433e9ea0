"""`python -m training evaluate`: how good a run's checkpoint, or a model's weights and its file, are."""

import argparse
from pathlib import Path

from service.errors import InvalidRequest
from service.inference.contract.card import Quantisation
from training.commands.export import named_run
from training.commands.own_data import add_folder, data_of, model_name
from training.commands.places import add_places
from training.commands.versions import version_of
from training.data.examples import Examples
from training.evaluate import Predictor, by_onnx, by_torch, predict, report
from training.export import MODEL, WEIGHTS, card_of, exported, exported_recipe, exported_task

ABOUT = "measure a version's weights and its ONNX file on the test set"


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Describe the command's flags."""
    parser.set_defaults(command=run_evaluate)
    add_places(parser, of_a_run=True)
    add_folder(parser)
    parser.add_argument("--run", type=Path, help="folder of a run, to measure its checkpoint instead")
    parser.add_argument("--version", type=int, help="of the model (the newest)")


def run_evaluate(options: argparse.Namespace) -> int:
    """Measure a run's checkpoint, or a version's weights and its ONNX file."""
    if options.run:
        if options.version is not None:
            raise InvalidRequest("--version is of a model, and --run of none yet: give one of the two")
        run = named_run(options)
        data = data_of(options, run.recipe, run.task)
        test = data.read_test(options.data_dir)
        show(f"checkpoint of {options.run}", by_torch(run.deployed()), test, run.task.labels)
        return 0
    folder = version_of(options.models / model_name(options), options.version)
    recipe, task = exported_recipe(folder / MODEL), exported_task(folder / MODEL)
    test = data_of(options, recipe, task).read_test(options.data_dir)
    made = int8_form(folder / MODEL)
    if made:
        print(f"{folder} is the INT8 form of {made.source}: no weights of its own for PyTorch")
    else:
        show(f"{folder / WEIGHTS}, by PyTorch", by_torch(exported(folder)), test, task.labels)
    show(f"\n{folder / MODEL}, by onnxruntime", by_onnx(folder / MODEL), test, task.labels)
    return 0


def int8_form(file: Path) -> Quantisation | None:
    """How a file was quantised, if it was."""
    provenance = card_of(file).provenance
    return provenance.quantised if provenance else None


def show(title: str, predictor: Predictor, test: Examples, labels: tuple[str, ...]) -> None:
    """Print how `predictor` does on the test set."""
    print(f"{title}\n{report(predict(predictor, test), test, labels)}")
