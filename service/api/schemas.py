"""The types of what the doors answer: mypy checks the handlers against them, /docs shows them."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict


class Problem(TypedDict):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: Annotated[str, Field(description="what was wrong with this very request")]
    instance: str


class ProtocolError(TypedDict):
    """The Open Inference Protocol's error."""

    error: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "a problem, as RFC 9457 has it",
        "content": {"application/problem+json": {"schema": TypeAdapter(Problem).json_schema()}},
    }
}
"""OpenAPI's words for every refusal under /v1."""

BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
"""OpenAPI's words for a form of an answer that is bytes: a picture, or a file of arrays."""

PROTOCOL_ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {"model": ProtocolError, "description": "an error of the Open Inference Protocol"}
}
"""OpenAPI's words for every refusal under /v2."""


class Health(TypedDict, total=False):
    """An answer of the Open Inference Protocol's health doors."""

    live: bool
    ready: bool


class VersionState(TypedDict):
    """What came of one version."""

    version: str
    state: Literal["ready", "failed"]
    reason: Annotated[str | None, Field(description="why it is not ready")]


class ModelDescription(TypedDict):
    """A model and one of its versions."""

    name: str
    versions: Annotated[list[str], Field(description="every version that was found, oldest first")]
    states: Annotated[list[VersionState], Field(description="of each of them")]
    default_version: Annotated[str, Field(description="the version that answers when none is named")]
    version: Annotated[str, Field(description="the version that the following fields are about")]
    state: Literal["ready", "failed"]
    reason: Annotated[str | None, Field(description="why it is not ready")]
    sha256: Annotated[str | None, Field(description="of the model file")]
    provider: Annotated[str | None, Field(description="onnxruntime's execution provider that it runs on")]
    card: Annotated[dict[str, Any] | None, Field(description="what the file says about itself")]


class ModelList(TypedDict):
    """Every model."""

    default: Annotated[str | None, Field(description="the model to start with")]
    models: list[ModelDescription]


class Class(TypedDict):
    """One class and its probability."""

    label: str
    index: int
    probability: float


class Prediction(TypedDict):
    """The most probable classes of one picture, best first."""

    classes: list[Class]


class Predictions(TypedDict):
    """One prediction per picture, in the order of the request."""

    model: str
    version: str
    predictions: list[Prediction]


class ReceptiveField(TypedDict):
    """Place i of a layer sees the input's pixels from start + i * step on, size of them; a list: one per axis."""

    size: int | list[int]
    step: int | list[int]
    start: Annotated[int | list[int], Field(description="below 0 where padding comes first")]


class DenseEquivalent(TypedDict):
    """Weights of the same map from tensor to tensor, without biases; null where extents are known only at run time."""

    dense: Annotated[int | None, Field(description="one for each pair of a number in and a number out")]
    shared: Annotated[int | None, Field(description="one for each pair of channels and each offset between places")]
    local: Annotated[int, Field(description="what the convolution has")]


class LayerRow(TypedDict):
    """A tensor that a node of the graph yields; null where a field has no meaning."""

    name: str
    op: Annotated[str, Field(description="the ONNX operator")]
    kind: Annotated[
        Literal["conv", "norm", "activation", "pool", "dense", "plumbing"] | None,
        Field(description="plumbing depends on no input's values; shown for kind=all alone"),
    ]
    inputs: Annotated[list[str], Field(description="the layers, or inputs of the graph, that feed it")]
    folded: Annotated[list[str], Field(description="the modules that the exporter folded into it")]
    shape: Annotated[
        list[int | Literal["N"] | None] | None, Field(description='"N": the batch; null: known only at run time')
    ]
    kernel: list[int] | None
    stride: list[int] | None
    padding: Annotated[list[int] | None, Field(description="all begins, then all ends")]
    dilation: list[int] | None
    groups: int | None
    parameters: int
    macs: Annotated[int | None, Field(description="multiply-adds for one input")]
    receptive_field: Annotated[ReceptiveField | None, Field(description="null: it sees the whole input")]
    dense_equivalent: Annotated[DenseEquivalent | None, Field(description="of a convolution")]


class LayerTotals(TypedDict):
    """Sums over the graph; a weight that layers share counts once."""

    parameters: int
    macs: int | None
    layers: Annotated[int, Field(description="plumbing left out")]
    dense_equivalent: Annotated[DenseEquivalent | None, Field(description="of all convolutions together")]


class LayerTable(TypedDict):
    """Every layer of a model, in the order in which they are computed."""

    model: str
    version: str
    layers: list[LayerRow]
    totals: LayerTotals


class Channel(TypedDict):
    """One channel of one layer for one picture; `zeros` is the fraction of values that are exactly 0."""

    channel: Annotated[int, Field(description="its number in the layer, from 0")]
    mean: float
    std: float
    min: float
    max: float
    zeros: float


class LayerSummary(TypedDict):
    """One layer's feature map for one picture."""

    name: str
    op: str
    shape: Annotated[list[int], Field(description="of what was selected, without the batch")]
    channels: Annotated[list[Channel], Field(description="statistics of what was selected")]
    values: NotRequired[
        Annotated[Any, Field(description="all of them, in that shape, where `channel` or `pool` leave at most 4096")]
    ]


class LayerSummaries(TypedDict):
    """The layers asked for, in that order, for one picture."""

    layers: list[LayerSummary]


class StageLatency(TypedDict):
    """One stage of the requests since the start, in seconds; null before the first."""

    count: float
    p50: float | None
    p90: float | None
    p99: float | None


class LayerLatency(TypedDict):
    """One kernel, in microseconds; without a name: what onnxruntime added itself."""

    name: Annotated[str | None, Field(description="the layer that it yields")]
    fused: Annotated[list[str], Field(description="the layers that it computes on the way there, in the graph's order")]
    op: Annotated[str, Field(description="the kernel's operator, which fusing may have changed")]
    us: float
    share: Annotated[float, Field(description="of the sum over all kernels")]


class BatchLatency(TypedDict):
    """One run, in microseconds: medians."""

    batch: Annotated[int, Field(description="inputs in the run")]
    runs: Annotated[int, Field(description="how many were measured")]
    run_us: Annotated[float, Field(description="a whole run, measured beside the layers")]
    layers_us: Annotated[float, Field(description="the sum over all kernels")]
    layers: list[LayerLatency]


class LatencyProfile(TypedDict):
    """The time of each layer."""

    provider: str
    threads: Annotated[int, Field(description="of one run; 0: as many as there are cores")]
    batches: list[BatchLatency]


class Latency(TypedDict):
    """Where the time goes."""

    model: str
    version: str
    stages: dict[str, StageLatency]
    profile: Annotated[LatencyProfile | None, Field(description="the last measurement of this file")]


class ClassActivationMap(TypedDict):
    """Where in one picture a class was seen."""

    model: str
    version: str
    label: str
    index: int
    probability: float
    method: Annotated[
        Literal["cam", "occlusion"],
        Field(description="cam: the parts of the score, exactly; occlusion: what hiding a place costs in probability"),
    ]
    logit: Annotated[float | None, Field(description="cam: the score, which `values` and `bias` add up to")]
    bias: float | None
    shape: Annotated[
        list[int],
        Field(
            description="of a picture's map, height and width: of the last spatial layer, or even parts of the input"
        ),
    ]
    first: Annotated[
        list[float],
        Field(
            description="for each axis of `shape`, where the centre of its first place lies in the model's input, in "
            "pixels or samples from its edge; below 0 where the model pads"
        ),
    ]
    step: Annotated[list[float], Field(description="for each axis of `shape`, how far it is from a place to the next")]
    values: Annotated[list[Any], Field(description="row by row, from the top; as nested as `shape` is long")]


class FeatureMapSummaries(TypedDict):
    """One entry per picture, in the order of the request."""

    model: str
    version: str
    images: list[LayerSummaries]


class ModelVersion(TypedDict):
    """One version of one model."""

    model: str
    version: str


class LayerDifference(TypedDict):
    """One layer in two models, over all pictures; null where the shapes differ, or no number is finite in both."""

    name: str
    op: str
    shape: Annotated[list[int], Field(description="of what was selected, without the batch")]
    against_shape: list[int]
    cosine: Annotated[
        float | None,
        Field(description="cosine similarity, -1 to 1, where both are finite; null too where one is all 0 there"),
    ]
    largest_difference: Annotated[
        float | None, Field(description="between two numbers at the same place, where both are finite")
    ]
    magnitude: Annotated[float | None, Field(description="the largest in the first model there, to hold that against")]
    not_finite: Annotated[int, Field(description="numbers that are NaN or infinity in the first model")]
    against_not_finite: Annotated[int, Field(description="and in the other: more in one means that it has gone astray")]


class FeatureMapComparison(TypedDict):
    """How far two models are apart, layer by layer."""

    model: str
    version: str
    against: ModelVersion
    images: Annotated[int, Field(description="how many pictures were compared")]
    layers: list[LayerDifference]


class WeightArray(TypedDict):
    """One array of a layer, as exact in the npz form."""

    name: Literal["weight", "bias"]
    shape: list[int]
    dtype: Annotated[str, Field(description="numpy's name of it")]
    axes: Annotated[list[str], Field(description="what each axis is: out, in, space; stack: one matrix after another")]
    mean: float
    std: float
    min: float
    max: float
    zeros: Annotated[float, Field(description="the fraction that is exactly 0")]


class WeightSummary(TypedDict):
    """The weights of one layer."""

    model: str
    version: str
    layer: str
    op: str
    folded: Annotated[list[str], Field(description="the modules that the exporter folded into them")]
    arrays: list[WeightArray]
