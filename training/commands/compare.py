"""`python -m training compare`: a dense and a convolutional network under one recipe, and a report on both."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from service.errors import InvalidRequest
from training.commands.own_data import check_fit
from training.commands.places import DEFAULT, recipe_of
from training.commands.seeds import seeds
from training.compare.contest import contender, contest
from training.compare.cost import sizes
from training.compare.equivariance import changes, comparable, exact, layers, sheet_of, widened
from training.compare.figures import NETWORKS, Figures, Network
from training.compare.ground import Ground, installed
from training.compare.hardship import DIRECTIONS, DISTANCES, SIDES, black_edge
from training.compare.plots import plots
from training.compare.report import JSON, PICTURES, REPORT, report
from training.compare.trainings import all_trainings, network_of
from training.config import Recipe, add_flags, command, overridden
from training.data.examples import split
from training.data.table import data_set
from training.derive.proof import UNPROVED

ABOUT = "train a dense and a convolutional network by one recipe; report what each of them bears"
SEEDS, JUDGED = "1,2,3", 2000


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Describe the command's flags."""
    parser.set_defaults(command=run_compare)
    parser.add_argument("name", nargs="?", default=DEFAULT, help="recipe (%(default)s)")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the data set (%(default)s)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (%(default)s)")
    parser.add_argument("--write", type=Path, default=Path("docs"), help="folder of the report (%(default)s)")
    parser.add_argument(
        "--seeds", metavar="INT,INT...", default=SEEDS, help="a training of each kind for each (%(default)s)"
    )
    parser.add_argument("--judged", type=int, default=JUDGED, help="test pictures shifted and covered (%(default)s)")
    add_flags(parser.add_argument_group("recipe", "each overrides a field of the recipe"))


def run_compare(options: argparse.Namespace) -> int:
    """Train, measure, write the report; exit status 1, and no report, if what is exact does not hold."""
    if options.judged < 1:
        raise InvalidRequest(f"--judged must be at least 1, not {options.judged}")
    if "seed" in options:
        raise InvalidRequest("compare trains several networks, and --seed is about one: give --seeds")
    figures = measured(overridden(recipe_of(options.name), vars(options)), seeds(options.seeds, least=1), options)
    failing = [layer.name for layer in figures.layers if not exact(layer)]
    if failing:
        print(f"error: maps do not shift along with the picture: {', '.join(failing)}", file=sys.stderr)
        return UNPROVED
    for path in write(figures, options.write):
        print(f"written: {path}")
    return 0


def measured(recipe: Recipe, chances: Sequence[int], options: argparse.Namespace) -> Figures:
    """Everything that the report is made of; `chances` are the seeds."""
    data = data_set(recipe.data)
    recipes = contest(recipe, data.task)
    examples, test = data.read_training(options.data_dir), data.read_test(options.data_dir)
    ground = Ground(options.name, data.task, examples, test, min(options.judged, len(test.targets)))
    check(recipes, ground)
    sheet = sheet_of(test.inputs)
    reaches = comparable(recipe, data.task, sheet)
    runs = options.runs / f"compare-{options.name}"
    trainings = tuple(all_trainings(recipes, chances, ground, runs))
    dense, convolutional = (network_of(runs, name, "taught", chances[0]) for name in NETWORKS)
    return Figures(
        command=command_of(options, recipe),
        title=data.title,
        classes=len(data.task.labels),
        versions=installed(),
        threads=torch.get_num_threads(),
        epochs=recipe.epochs,
        batch=recipe.batch,
        learning_rate=recipe.learning_rate,
        learnt_from=len(examples.targets) - recipe.held_out,
        chosen_by=recipe.held_out,
        tested_on=len(test.targets),
        judged_on=ground.judged_on,
        black_edge=black_edge(ground.judged.inputs),
        flip=recipe.flip,
        shift=recipe.shift,
        erase=recipe.erase,
        erase_share=recipe.erase_share,
        distances=DISTANCES,
        directions=DIRECTIONS,
        sides=SIDES,
        contenders={name: contender(each, data.task) for name, each in recipes.items()},
        trainings=trainings,
        layers=layers(widened(convolutional, recipe, data.task, sheet), sheet, reaches),
        sheet=(sheet.shape[1], sheet.shape[2]),
        changes=changes(dense, ground.judged.inputs),
        sizes=sizes(recipes["dense"], recipe, data.task),
    )


def check(recipes: Mapping[Network, Recipe], ground: Ground) -> None:
    """Try every recipe on the data before the first is trained. Raises InvalidRequest."""
    for recipe in recipes.values():
        learnt, _ = split(ground.data, recipe.held_out, recipe.seed)
        check_fit(recipe, ground.task, learnt)


def command_of(options: argparse.Namespace, recipe: Recipe) -> str:
    """The command as it could be given again; folders are left out."""
    own = "".join(
        f" --{name} {getattr(options, name)}"
        for name, usual in (("seeds", SEEDS), ("judged", JUDGED))
        if getattr(options, name) != usual
    )
    return command(options.name, recipe).replace(" train ", " compare ", 1) + own


def write(figures: Figures, docs: Path) -> list[Path]:
    """Write the report, its plots and its figures into the folder `docs`."""
    (docs / PICTURES).mkdir(parents=True, exist_ok=True)
    contents = {docs / PICTURES / name: content for name, content in plots(figures).items()}
    contents[docs / PICTURES / JSON] = (figures.model_dump_json(indent=1) + "\n").encode()
    contents[docs / REPORT] = report(figures).encode()
    for path, content in contents.items():
        path.write_bytes(content)
    return list(contents)
