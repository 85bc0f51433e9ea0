"""`python -m training train | export | evaluate | compare | quantize | derive`: see `--help` of each."""

import argparse
import sys
from collections.abc import Sequence

from service.errors import ConvscopeError
from training.commands import compare, evaluate, export, quantize, train
from training.commands.places import INTERRUPTED
from training.derive import command as derive
from training.memory import keep_memory

REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a refusal is one line on standard error and exit status 2."""
    options = parser().parse_args(arguments)
    keep_memory()
    try:
        status: int = options.command(options)
    except (ConvscopeError, OSError) as error:  # OSError: a folder that cannot be made or read
        print(f"error: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return status


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(prog="python -m training", description="Train, export and evaluate networks.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for name, about, add_flags in (
        ("train", train.ABOUT, train.add_train),
        ("export", export.ABOUT, export.add_export),
        ("evaluate", evaluate.ABOUT, evaluate.add_evaluate),
        ("compare", compare.ABOUT, compare.add_compare),
        ("quantize", quantize.ABOUT, quantize.add_quantize),
        ("derive", derive.ABOUT, derive.add_derive),
    ):
        add_flags(commands.add_parser(name, help=about, description=about))
    return top


if __name__ == "__main__":
    sys.exit(main())
