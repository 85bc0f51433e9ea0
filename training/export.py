"""A trained network becomes a model file that names its layers and proves itself: models/<name>/<n>/."""

import platform
import shutil
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from service.errors import ConvscopeError
from service.inference.contract.card import METADATA_KEY, Golden, ModelCard, OutputCard, Parity, Provenance
from training.config import Recipe, as_values, command
from training.data import DataSet, Examples, data_set
from training.evaluate import Probabilities, Report, by_onnx, by_torch, predict, report
from training.loop import keep
from training.naming import name_after_modules
from training.parity import layer_differences
from training.runs import Run

MODEL = "model.onnx"
WEIGHTS = "weights.safetensors"
OUTPUT = "probabilities"
TOLERANCE = 1e-4
GOLDEN = 4  # inputs that the card holds with their answers


class ExportRefused(ConvscopeError):
    """The ONNX file does not answer as PyTorch does."""


class Deployed(nn.Module):
    """What the file computes: the network, then softmax."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 pixels to probabilities, float32 [N, labels]."""
        probabilities: Tensor = self.network(pixels).softmax(dim=1)
        return probabilities


def export(run: Run, test: Examples, folder: Path) -> Report:
    """Write `folder` with the run's network as model.onnx and weights.safetensors, then say how the file does.

    It is judged on `test`. Raises ExportRefused when onnxruntime and PyTorch differ; then, as on any error, there is no
    `folder`.
    """
    data = data_set(run.recipe.data)
    network = run.network()
    graph = to_onnx(network, data)
    answers = predict(by_onnx(graph.SerializeToString()), test)
    result = report(answers, test, data.labels)
    card = ModelCard(
        task="multiclass",
        labels=data.labels,
        input=data.input,
        output=OutputCard(name=OUTPUT),
        provenance=provenance(run, data),
        evaluation=result.card(),
        parity=prove(graph, network, test, answers),
        golden=golden(test.pixels.numpy(), answers),
        tolerance=TOLERANCE,
    )
    graph.metadata_props.add(key=METADATA_KEY, value=card.model_dump_json())
    write(graph, network, folder)
    return result


def to_onnx(network: nn.Module, data: DataSet) -> onnx.ModelProto:
    """Make the graph: uint8 [N, height, width, channels] to probabilities [N, labels], tensors named after modules."""
    example = torch.zeros(2, *data.input.shape, dtype=torch.uint8)
    with warnings.catch_warnings():
        # torch.export copies its own tree specifications, which warns of a class that torch itself deprecates
        warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.", FutureWarning)
        program = torch.onnx.export(
            Deployed(network).eval(),
            (example,),
            dynamo=True,
            external_data=False,
            input_names=[data.input.name],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            verbose=False,
        )
    if program is None:
        raise ExportRefused("PyTorch's exporter returned nothing")
    model = program.model_proto
    name_after_modules(model, dict(network.named_modules()), wrapper="network")
    onnx.checker.check_model(model, full_check=True)
    return model


def exported_recipe(path: Path) -> Recipe:
    """Read from a model file the recipe of its network. Raises ExportRefused when it was not made here."""
    try:
        properties = {item.key: item.value for item in onnx.load(path).metadata_props}
        card = ModelCard.model_validate_json(properties[METADATA_KEY])
        return Recipe(**card.provenance.recipe)  # type: ignore[union-attr]
    except Exception as error:  # protobuf's errors have no better base
        raise ExportRefused(f"{path} is not there, or holds no recipe of `python -m training export`") from error


def prove(graph: onnx.ModelProto, network: nn.Module, test: Examples, answers: Probabilities) -> Parity:
    """Compare onnxruntime's `answers` with PyTorch's, and each layer with its module. Raises ExportRefused."""
    difference = float(np.abs(answers - predict(by_torch(network), test)).max())
    if not difference <= TOLERANCE:
        raise ExportRefused(f"onnxruntime and PyTorch differ by {difference:.1e} in probability: nothing is written")
    for layer, share in layer_differences(graph, network, test.pixels[:GOLDEN].numpy()).items():
        if not share <= TOLERANCE:
            raise ExportRefused(f"layer {layer} differs from its module by {share:.1e} of its largest magnitude")
    return Parity(reference=f"torch {torch.__version__}", largest_difference=difference, count=len(answers))


def golden(pixels: NDArray[np.uint8], answers: Probabilities) -> tuple[Golden, ...]:
    """The first few inputs with the file's answers."""
    return tuple(Golden.of(pixels[index], answers[index]) for index in range(min(GOLDEN, len(pixels))))


def provenance(run: Run, data: DataSet) -> Provenance:
    """Where the weights come from; no path of this machine is in it."""
    cut = f"  # interrupted, epoch {run.epoch} kept" if run.interrupted else ""
    return Provenance(
        data=data.title,
        licence=data.licence,
        recipe=as_values(run.recipe),
        seed=run.recipe.seed,
        versions={"python": platform.python_version(), **versions(("torch", "torchvision", "onnx", "onnxruntime"))},
        command=command(run.name, run.recipe) + cut,
    )


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions by package."""
    return {package: version(package) for package in packages}


def write(graph: onnx.ModelProto, network: nn.Module, folder: Path) -> None:
    """Write both files, then give the folder its name: a service that watches never sees half a version."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / MODEL).write_bytes(graph.SerializeToString(deterministic=True))
    keep(network, partial / WEIGHTS)
    partial.rename(folder)
