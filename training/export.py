"""A trained network becomes a model file that names its layers and proves itself: models/<name>/<n>/."""

import shutil
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from service.errors import ConvscopeError
from service.inference.contract.card import (
    METADATA_KEY,
    Calibration,
    Golden,
    InputCard,
    ModelCard,
    OutputCard,
    Parity,
    Provenance,
)
from training.calibration import reliability
from training.checkpoint import keep, load
from training.config import Recipe, as_values, command
from training.data.examples import DataSet, Examples, Task
from training.deployed import Deployed
from training.evaluate import Inputs, Probabilities, Report, by_onnx, by_torch, in_parts, per_label, predict, report
from training.naming import name_after_modules
from training.parity import layer_differences
from training.runs import Run

MODEL = "model.onnx"
WEIGHTS = "weights.safetensors"
OUTPUT = "probabilities"
TOLERANCE = 1e-4
NETWORK = "network"  # the attribute of what is exported that holds the network; it is dropped from layers' names
GOLDEN = 4  # inputs that the card holds with their answers


class ExportRefused(ConvscopeError):
    """The ONNX file does not answer as PyTorch does."""


def export(run: Run, data: DataSet, test: Examples, folder: Path) -> Report:
    """Write `folder` with the run's network as model.onnx and weights.safetensors, then say how the file does.

    It is judged on `test`. Raises ExportRefused when onnxruntime and PyTorch differ; then, as on any error, there is no
    `folder`.
    """
    deployed = run.deployed()
    graph = exported_graph(deployed, run.task.input)
    answers = predict(by_onnx(graph.SerializeToString()), test)
    result = report(answers, test, run.task.labels)
    card = ModelCard(
        task=run.task.kind,
        labels=run.task.labels,
        input=run.task.input,
        output=OutputCard(name=OUTPUT),
        provenance=provenance(run, data),
        evaluation=result.card(),
        calibration=calibration(run.temperature, answers, test),
        parity=prove(graph, deployed, test.inputs.numpy(), answers),
        golden=golden(test.inputs.numpy(), answers),
        tolerance=TOLERANCE,
    )
    graph.metadata_props.add(key=METADATA_KEY, value=card.model_dump_json())
    write(graph, folder, deployed.network)
    return result


def calibration(temperature: float, answers: Probabilities, test: Examples) -> Calibration:
    """How far confidence is from accuracy, and how far it would be without the temperature.

    A factor on the logarithms of probabilities undoes it.
    """
    warm = per_label(answers)
    logits = temperature * np.log(np.maximum(warm.astype(np.float64), np.finfo(np.float32).tiny))
    plain = np.exp(logits - logits.max(axis=1, keepdims=True))
    plain /= plain.sum(axis=1, keepdims=True)
    before, after = (reliability(some.astype(np.float32), test.targets.numpy()).error for some in (plain, warm))
    return Calibration(temperature=temperature, error_before=before, error_after=after, count=len(answers))


def exported_graph(deployed: nn.Module, card: InputCard) -> onnx.ModelProto:
    """Make the graph of `deployed`: the card's input, batch first, to probabilities [N, outputs].

    Tensors are named after the modules of the network that its attribute `network` holds.
    """
    example = torch.zeros(2, *card.shape, dtype=getattr(torch, card.dtype))
    with warnings.catch_warnings():
        # torch.export copies its own tree specifications, which warns of a class that torch itself deprecates
        warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.", FutureWarning)
        program = torch.onnx.export(
            deployed.eval(),
            (example,),
            dynamo=True,
            external_data=False,
            input_names=[card.name],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            verbose=False,
        )
    if program is None:
        raise ExportRefused("PyTorch's exporter returned nothing")
    model = program.model_proto
    name_after_modules(model, dict(deployed.get_submodule(NETWORK).named_modules()), wrapper=NETWORK)
    onnx.checker.check_model(model, full_check=True)
    return model


def card_of(path: Path) -> ModelCard:
    """Read the card that a model file holds. Raises ExportRefused when it was not made here."""
    try:
        properties = {item.key: item.value for item in onnx.load(path).metadata_props}
        return ModelCard.model_validate_json(properties[METADATA_KEY])
    except Exception as error:  # protobuf's errors have no better base
        raise ExportRefused(f"{path} is not there, or holds no card of `python -m training export`") from error


def exported_recipe(path: Path) -> Recipe:
    """Read from a model file the recipe of its network. Raises ExportRefused when it was not made here."""
    provenance = card_of(path).provenance
    if provenance is None:
        raise ExportRefused(f"{path} holds no recipe of `python -m training export`")
    if "module" in provenance.recipe:
        raise ExportRefused(f"{path} was exported from {provenance.recipe['module']}: no recipe makes its network")
    try:
        return Recipe(**provenance.recipe)  # type: ignore[arg-type]
    except (TypeError, ConvscopeError) as error:
        raise ExportRefused(f"{path} was exported by another version, whose recipes differ: {error}") from error


def exported_task(path: Path) -> Task:
    """Read from a model file what it is for. Raises ExportRefused when it was not made here."""
    card = card_of(path)
    nothing = (0.0,) * card.input.channels  # the mean and the spread are among the weights
    return Task(card.labels, card.input, mean=nothing, std=nothing)


def exported(folder: Path) -> Deployed:
    """Build in PyTorch what a model's folder holds, of its unfolded weights. Raises ExportRefused, RunMissing."""
    card, task = card_of(folder / MODEL), exported_task(folder / MODEL)
    temperature = card.calibration.temperature if card.calibration else 1.0
    return Deployed(load(exported_recipe(folder / MODEL), task, folder / WEIGHTS), task, temperature)


def prove(graph: onnx.ModelProto, deployed: nn.Module, inputs: Inputs, answers: Probabilities) -> Parity:
    """Compare onnxruntime's `answers` to `inputs` with PyTorch's, and each layer with its module of `deployed.network`.

    Raises ExportRefused.
    """
    difference = float(np.abs(answers - in_parts(by_torch(deployed), inputs)).max())
    if not difference <= TOLERANCE:
        raise ExportRefused(f"onnxruntime and PyTorch differ by {difference:.1e} in probability: nothing is written")
    for layer, share in layer_differences(graph, deployed, inputs[:GOLDEN], NETWORK).items():
        if not share <= TOLERANCE:
            raise ExportRefused(f"layer {layer} differs from its module by {share:.1e} of its largest magnitude")
    return Parity(reference=f"torch {torch.__version__}", largest_difference=difference, count=len(answers))


def golden(inputs: Inputs, answers: Probabilities) -> tuple[Golden, ...]:
    """The first few inputs with the file's answers."""
    return tuple(Golden.of(inputs[index], answers[index]) for index in range(min(GOLDEN, len(inputs))))


def provenance(run: Run, data: DataSet) -> Provenance:
    """Where the weights come from; no path of this machine is in it.

    Versions are those that trained the weights; of onnx and onnxruntime, those that wrote and proved the file.
    """
    begun = run.begun
    origin = f"  # began with {begun.origin}" if begun.origin else ""
    cut = f"  # interrupted, epoch {run.epoch} kept" if run.interrupted else ""
    return Provenance(
        data=data.title,
        licence=data.licence,
        recipe=as_values(begun.recipe),
        seed=begun.recipe.seed,
        versions=begun.versions | versions(("onnx", "onnxruntime")),
        command=command(begun.name, begun.recipe, begun.start) + origin + cut,
    )


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions by package."""
    return {package: version(package) for package in packages}


def write(graph: onnx.ModelProto, folder: Path, network: nn.Module | None = None) -> None:
    """Write the model file, and the weights of `network`, then give the folder its name.

    So a service that watches never sees half a version.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / MODEL).write_bytes(graph.SerializeToString(deterministic=True))
    if network:
        keep(network, partial / WEIGHTS)
    partial.rename(folder)
