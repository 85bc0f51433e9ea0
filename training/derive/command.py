"""`python -m training derive`: walk from a dense layer to a convolution, and refuse to say what does not hold."""

import argparse
import sys
from pathlib import Path

from training.derive.chapter import write
from training.derive.convolution import convolution
from training.derive.derivation import derivation
from training.derive.kernels import kernels
from training.derive.layer import Layer
from training.derive.proof import UNPROVED, all_hold
from training.derive.walk import walk

ABOUT = "go from a dense layer to a convolution, each step as numbers and proved on tensors"


def add_derive(parser: argparse.ArgumentParser) -> None:
    """Describe the command's flags; counts are read by `Layer`, which says in a sentence what is wrong with them."""
    parser.set_defaults(command=run_derive)
    parser.add_argument("--image", default="3x3x1", metavar="HxWxC", help="the picture (%(default)s)")
    parser.add_argument("--hidden", default="16", metavar="N", help="neurons of the dense layer (%(default)s)")
    parser.add_argument("--kernel", default="2", metavar="K", help="height and width of the window (%(default)s)")
    parser.add_argument("--write", type=Path, metavar="DOCS", help="then bring the chapter in this folder up to date")


def run_derive(options: argparse.Namespace) -> int:
    """Print the walk; exit status 1 if a claim does not hold."""
    layer = Layer.read(options.image, options.hidden, options.kernel)
    steps, others = derivation(layer), [*convolution(), *kernels()]
    print("\n".join(walk(layer, steps, others)))
    if not all_hold([*steps, *others]):
        print("error: a claim does not hold: see NOT EQUAL above", file=sys.stderr)
        return UNPROVED
    if options.write:
        for path in write(options.write):
            print(f"written: {path}")
    return 0
