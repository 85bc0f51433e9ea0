"""`python -m training quantize`: a version of a model becomes an INT8 model of its own."""

import argparse
from pathlib import Path

from service.errors import InvalidRequest
from training.commands.own_data import add_folder, data_of, model_name
from training.commands.places import add_places
from training.commands.versions import version_of
from training.data.examples import split
from training.export import MODEL, exported_recipe, exported_task
from training.folders import following
from training.quantize import EXAMPLES, quantize

ABOUT = "write a version of a model in INT8, as the next version of NAME-int8, unless it is much worse"
POINTS = 0.5


def add_quantize(parser: argparse.ArgumentParser) -> None:
    """Describe the command's flags."""
    parser.set_defaults(command=run_quantize)
    add_places(parser)
    add_folder(parser)
    parser.add_argument("--version", type=int, help="of the float model (the newest)")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=POINTS,
        metavar="POINTS",
        help="percentage points by which accuracy on the test set may fall (%(default)s)",
    )
    parser.add_argument(
        "--examples",
        type=int,
        default=EXAMPLES,
        metavar="COUNT",
        help="training examples to read the ranges of activations off (%(default)s)",
    )


def run_quantize(options: argparse.Namespace) -> int:
    """Quantise, measure, and write the model if it is good enough."""
    if not options.tolerance >= 0:
        raise InvalidRequest(f"--tolerance must be at least 0, not {options.tolerance}")
    if options.examples < 1:
        raise InvalidRequest(f"--examples must be at least 1, not {options.examples}")
    parent = options.models / model_name(options)
    source = version_of(parent, options.version) / MODEL
    recipe, task = exported_recipe(source), exported_task(source)
    data = data_of(options, recipe, card=task.input)
    if data.task.labels != task.labels:
        raise InvalidRequest(f"{options.folder} has other classes than {source}: {', '.join(task.labels)}")
    learnt, _ = split(data.read_training(options.data_dir), recipe.held_out, recipe.seed)
    inputs = learnt.inputs[: options.examples].numpy()
    folder = following(options.models / f"{parent.name}-int8")
    judged = quantize(
        source, inputs, data.read_test(options.data_dir), folder, options.tolerance, command(options, source)
    )
    size, before = ((path / MODEL).stat().st_size for path in (folder, source.parent))
    print(f"{judged.int8}\n\nfloat32: {judged.float32.accuracy:.2%}, {before:,} bytes; INT8: {size:,} bytes")
    print(f"written: {folder}")
    return 0


def command(options: argparse.Namespace, source: Path) -> str:
    """Write the command that makes the same file again."""
    folder = " --folder DIR" if options.folder else ""
    tolerance = f" --tolerance {options.tolerance:g}" if options.tolerance != POINTS else ""
    return (
        f"python -m training quantize {source.parents[1].name} --version {source.parent.name} "
        f"--examples {options.examples}{tolerance}{folder}"
    )
