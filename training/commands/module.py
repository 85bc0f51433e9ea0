"""`python -m training export --module`: any nn.Module of yours, whatever trained it, becomes a version of a model."""

import argparse
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from service.errors import InvalidRequest
from service.inference.contract.card import InputCard
from training.commands.own_data import proper
from training.commands.versions import free_version
from training.own_module import OwnModule, export_module, made, read_labels
from training.state_dict import give_weights
from training.trial_inputs import noise, pictures

T = TypeVar("T", int, float)

IMAGE = "image"
DTYPES = {IMAGE: "uint8", "signal": "float32", "volume": "float32"}
NAMES = {IMAGE: "pixels", "signal": "signal", "volume": "voxels"}


def add_module(parser: argparse._ActionsContainer) -> None:
    """Add what a module does not say of itself."""
    parser.add_argument("--module", metavar="PACKAGE.MODULE:MAKE", help="a function that makes it, or its class")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="its state dict, .safetensors or .pt")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="a label a line, in the order of its scores")
    parser.add_argument("--name", dest="model", help="of the model")
    parser.add_argument("--kind", choices=DTYPES, default=IMAGE, help="of input (%(default)s)")
    parser.add_argument("--size", metavar="HxW", default="224x224", help="of an input, in space (%(default)s)")
    parser.add_argument("--colour", choices=("RGB", "BGR", "GREY"), default="RGB", help="of pictures (%(default)s)")
    parser.add_argument("--channels", type=int, default=1, help="of a signal or volume (%(default)s)")
    parser.add_argument("--mean", type=float, nargs="+", default=(), help="per channel, of pixels as 0 to 1 (0)")
    parser.add_argument("--std", type=float, nargs="+", default=(), help="per channel, divides after that (1)")
    parser.add_argument(
        "--fit", choices=("stretch", "crop", "pad"), default="stretch", help="of pictures (%(default)s)"
    )
    parser.add_argument(
        "--resample", choices=("nearest", "bilinear", "bicubic", "lanczos"), default="bilinear", help="(%(default)s)"
    )
    parser.add_argument("--probabilities", action="store_true", help="it yields probabilities already, not logits")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="to prove the file on, instead of noise")


def export_own(options: argparse.Namespace) -> int:
    """Write the module as a version of the model `--name`."""
    if not options.labels or not options.model:
        raise InvalidRequest("--module needs --labels FILE and --name MODEL, too")
    if options.run or options.folder:
        raise InvalidRequest("--module is instead of a run: leave out --run and --folder")
    card = input_card(options)
    if options.pictures and card.kind != IMAGE:
        raise InvalidRequest(f"--pictures are none for a {card.kind}")
    folder = free_version(options.models / proper(options.model), options.version)
    labels = read_labels(options.labels)
    network = made(options.module)
    if options.weights:
        give_weights(network, options.weights)
    own = OwnModule(network, labels, card, tuple(options.mean), tuple(options.std), options.probabilities)
    inputs = pictures(options.pictures, card) if options.pictures else noise(card)
    parity = export_module(own, inputs, options.module, command_of(options), folder)
    tried = "pictures" if options.pictures else "inputs of noise"
    print(f"onnxruntime and PyTorch differ by at most {parity.largest_difference:.1e} on {parity.count} {tried}")
    print(f"written: {folder}")
    return 0


def input_card(options: argparse.Namespace) -> InputCard:
    """What the file will take, by the flags. Raises InvalidRequest."""
    image = options.kind == IMAGE
    try:
        size = tuple(int(extent) for extent in options.size.lower().split("x"))
        card = InputCard(
            name=NAMES[options.kind],
            kind=options.kind,
            size=size,
            channels=(1 if options.colour == "GREY" else 3) if image else options.channels,
            colour=options.colour if image else None,
            layout="NHWC",
            dtype=DTYPES[options.kind],
            fit=options.fit,
            resample=options.resample,
        )
    except ValidationError as error:
        raise InvalidRequest(f"--size, --kind and --channels: {error.errors()[0]['msg']}") from error
    except ValueError as error:
        raise InvalidRequest(f"--size must be extents such as 224x224, not {options.size}") from error
    for flag, values in (("mean", options.mean), ("std", options.std)):
        if len(values) not in (0, card.channels):
            raise InvalidRequest(f"--{flag} needs one value per channel, {card.channels}, not {len(values)}")
    if not all(0 < value < float("inf") for value in options.std):
        raise InvalidRequest("--std must be above 0, for it divides")
    return card


def command_of(options: argparse.Namespace) -> str:
    """The command that makes the file again, no path of this machine in it."""
    said = [f"--module {options.module}", *(["--weights FILE"] if options.weights else []), "--labels FILE"]
    said += [f"--name {options.model}", f"--kind {options.kind}", f"--size {options.size}"]
    said += [f"--colour {options.colour}"] if options.kind == IMAGE else [f"--channels {options.channels}"]
    said += [
        f"--{flag} {' '.join(map(str, getattr(options, flag)))}" for flag in ("mean", "std") if getattr(options, flag)
    ]
    said += [f"--fit {options.fit}", f"--resample {options.resample}"] if options.kind == IMAGE else []
    said += ["--probabilities"] if options.probabilities else []
    return f"python -m training export {' '.join(said)}"
