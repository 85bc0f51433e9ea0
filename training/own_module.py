"""Your own network, whatever trained it: any nn.Module becomes a model folder that proves itself."""

import importlib
import platform
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from service.errors import InvalidRequest
from service.inference.contract.card import METADATA_KEY, InputCard, ModelCard, OutputCard, Parity, Provenance
from training.data.examples import Task, first_line
from training.evaluate import by_onnx, in_parts
from training.export import OUTPUT, TOLERANCE, ExportRefused, exported_graph, golden, prove, versions, write
from training.networks.blocks import scaled_planes
from training.state_dict import ModuleRefused

GOLDEN_BYTES = 2**20  # of a card's golden inputs, together; one there is in any case


@dataclass(frozen=True)
class OwnModule:
    """What is to become a model: a module in evaluation mode, and what it takes and tells apart.

    `network` takes float32 [N, channels, *size]: of pictures, values of 0 to 1, less `mean`, by `std`, per channel. It
    yields float32 [N, len(labels)], or [N, 1] for the second of two labels: logits, or `probabilities`.
    """

    network: nn.Module
    labels: tuple[str, ...]
    input: InputCard
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    probabilities: bool = False

    @property
    def task(self) -> Task:
        """Its labels, its input, and the mean and spread, 0 and 1 where they are not given."""
        channels = self.input.channels
        return Task(self.labels, self.input, self.mean or (0.0,) * channels, self.std or (1.0,) * channels)


class Standing(nn.Module):
    """A module with all that the file does besides: inputs as the service sends them, to probabilities."""

    def __init__(self, own: OwnModule, outputs: int) -> None:
        super().__init__()
        self.input = scaled_planes(own.task)
        self.network = own.network
        several: nn.Module = nn.Sigmoid() if outputs == 1 else nn.Softmax(dim=1)
        self.activation = nn.Identity() if own.probabilities else several

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs, channels last, to probabilities."""
        probabilities: Tensor = self.activation(self.network(self.input(inputs)))
        return probabilities


def export_module(own: OwnModule, inputs: NDArray[np.generic], source: str, command: str, folder: Path) -> Parity:
    """Write `folder` with the module as model.onnx and weights.safetensors, and say how close the file comes to it.

    They are compared on `inputs`, [count, *size, channels] as the service sends them, layer by layer, too; the first of
    them become the card's golden inputs. `source` says where the module comes from, `command` makes the file again.
    Raises ModuleRefused, and ExportRefused when onnxruntime and PyTorch differ; then there is no `folder`.
    """
    outputs = _outputs(own, inputs)
    standing = Standing(own, outputs).eval()
    try:
        with redirect_stderr(StringIO()):  # where the exporter fails it prints whole graphs
            graph = exported_graph(standing, own.input)
        answers = in_parts(by_onnx(graph.SerializeToString()), inputs)
        parity = prove(graph, standing, inputs, answers)
    except ExportRefused:
        raise
    except Exception as error:  # exporter and onnxruntime meet whatever a stranger's forward does
        reason = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise ModuleRefused(f"{source} cannot be exported: {first_line(reason)}") from error
    card = ModelCard(
        task="binary" if outputs == 1 else "multiclass",
        labels=own.labels,
        input=own.input,
        output=OutputCard(name=OUTPUT),
        provenance=Provenance(
            data=f"not known here: {source} was trained elsewhere",
            licence="unknown",
            recipe={"module": source},
            seed=0,
            versions={"python": platform.python_version(), **versions(("torch", "onnx", "onnxruntime"))},
            command=command,
        ),
        parity=parity,
        golden=golden(inputs[: max(1, GOLDEN_BYTES // inputs[0].nbytes)], answers),
        tolerance=TOLERANCE,
    )
    graph.metadata_props.add(key=METADATA_KEY, value=card.model_dump_json())
    write(graph, folder, own.network)
    return parity


def _outputs(own: OwnModule, inputs: NDArray[np.generic]) -> int:
    """How many scores the module yields. Raises ModuleRefused when they are not those of the labels."""
    some = torch.from_numpy(inputs[:2])
    try:
        with torch.inference_mode():
            scores = own.network.eval()(scaled_planes(own.task)(some))
    except Exception as error:  # a stranger's forward
        shape = ", ".join(map(str, (own.input.channels, *own.input.size)))
        raise ModuleRefused(f"the module fails on float32 [{len(some)}, {shape}]: {first_line(error)}") from error
    if not isinstance(scores, Tensor):
        raise ModuleRefused(f"the module yields a {type(scores).__name__}, not one tensor of scores: wrap it")
    if scores.ndim != 2 or len(scores) != len(some) or not scores.is_floating_point():
        raise ModuleRefused(f"the module yields {scores.dtype} {list(scores.shape)}, not a row of scores per input")
    count = scores.shape[1]
    if count != len(own.labels) and (count, len(own.labels)) != (1, 2):
        raise ModuleRefused(f"the module yields {count} score(s) per input, and there are {len(own.labels)} labels")
    if not scores.isfinite().all():
        raise ModuleRefused("the module yields scores that are no finite numbers")
    if own.probabilities and not _are_probabilities(scores.float()):
        raise ModuleRefused("--probabilities: the module's scores are none, for they do not add up to 1; leave it out")
    return count


def _are_probabilities(scores: Tensor) -> bool:
    whole = scores.shape[1] == 1 or bool(((scores.sum(1) - 1).abs() < 1e-3).all())
    return bool(((scores >= 0) & (scores <= 1)).all()) and whole


def made(source: str) -> nn.Module:
    """Import `source`, "package.module:make", and call it: a function without arguments, or a class. ModuleRefused."""
    module, _, name = source.partition(":")
    if not module or not name:
        raise InvalidRequest(f"--module must be package.module:make, not {source}")
    try:
        maker = getattr(importlib.import_module(module), name)
        network = maker()
    except Exception as error:  # a stranger's code
        raise ModuleRefused(f"{source} cannot be made: {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise ModuleRefused(f"{source} makes a {type(network).__name__}, not a torch.nn.Module")
    return network.cpu().float().eval()


def read_labels(path: Path) -> tuple[str, ...]:
    """Read labels, one a line in the order of the scores. Raises ModuleRefused."""
    try:
        labels = tuple(line.strip() for line in path.read_text("utf-8").rstrip().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ModuleRefused(f"{path} cannot be read as labels: {first_line(error)}") from error
    if len(labels) < 2 or not all(labels):
        raise ModuleRefused(f"{path} must have a label in each line, and at least two")
    return labels
