"""`--resume`: which run to go on with."""

import argparse

from service.errors import InvalidRequest
from training.begun import Begun
from training.commands.own_data import model_name
from training.resuming import cut_off, refuse_others


def add_resume(parser: argparse.ArgumentParser) -> None:
    """Add the flag."""
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the newest run of this name that was cut off, by its own recipe",
    )


def resumed(options: argparse.Namespace) -> Begun:
    """Find the run to go on with. Raises RunMissing, and InvalidRequest where flags ask for another."""
    if options.begin or options.pretrained:
        raise InvalidRequest("--resume goes on with the weights of a run: --from and --pretrained begin one")
    options.name = model_name(options)
    begun = cut_off(options.runs / options.name)
    refuse_others(begun, vars(options))
    return begun
