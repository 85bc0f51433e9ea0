"""The Open Inference Protocol's documents, and those of Triton's extensions, as types."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from service.inference.contract.datatypes import DTYPES


class ServerMetadata(TypedDict):
    """Who answers."""

    name: str
    version: str
    extensions: Annotated[list[str], Field(description="Triton's extensions to the protocol that are spoken here")]


class TensorMetadata(TypedDict):
    """An input or output of a model."""

    name: str
    datatype: str
    shape: Annotated[list[int], Field(description="-1 where an extent is free")]


class ModelMetadata(TypedDict):
    """What a model takes and gives."""

    name: str
    versions: Annotated[list[str], Field(description="the versions that answer, oldest first")]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelReady(TypedDict):
    """The answer of a model that is ready; one that is not is refused."""

    name: str
    ready: bool


class ConfiguredTensor(TypedDict):
    """An input or output; a model that batches has its rows left out of `dims`."""

    name: str
    data_type: str
    dims: list[int]


class InstanceGroup(TypedDict):
    """How many runs side by side, and on what."""

    count: int
    kind: Literal["KIND_CPU", "KIND_GPU"]


class DynamicBatching(TypedDict):
    """How long an incomplete batch waits for company."""

    max_queue_delay_microseconds: int


class ModelConfig(TypedDict):
    """Triton's model configuration, as far as it has a meaning here."""

    name: str
    platform: str
    backend: str
    default_model_filename: str
    version_policy: dict[str, dict[str, Any]]
    max_batch_size: Annotated[int, Field(description="most rows in one run; 0 for a model that does not batch")]
    input: list[ConfiguredTensor]
    output: list[ConfiguredTensor]
    instance_group: list[InstanceGroup]
    dynamic_batching: NotRequired[DynamicBatching]


class DurationStatistic(TypedDict):
    """How often, and how long in all."""

    count: int
    ns: int


class InferenceStatistics(TypedDict):
    """Over requests; the stages are those of answered ones."""

    success: DurationStatistic
    fail: DurationStatistic
    queue: DurationStatistic
    compute_input: DurationStatistic
    compute_infer: DurationStatistic
    compute_output: DurationStatistic
    cache_hit: DurationStatistic
    cache_miss: DurationStatistic


class BatchStatistics(TypedDict):
    """Over runs of one size; preparing inputs and outputs is part of `compute_infer`."""

    batch_size: int
    compute_input: DurationStatistic
    compute_infer: DurationStatistic
    compute_output: DurationStatistic


class ModelStatistics(TypedDict):
    """One version of one model, since the start."""

    name: str
    version: str
    last_inference: Annotated[int, Field(description="milliseconds since 1970; 0: none yet")]
    inference_count: Annotated[int, Field(description="rows that were run")]
    execution_count: Annotated[int, Field(description="runs")]
    inference_stats: InferenceStatistics
    batch_stats: list[BatchStatistics]


class StatisticsList(TypedDict):
    """Triton's statistics extension."""

    model_stats: list[ModelStatistics]


class IndexedModel(TypedDict):
    """One version of one model, in Triton's index of the models folder."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: Annotated[str, Field(description="why it is not ready; empty where it is")]


class OutputTensor(TypedDict):
    """One output; its data are flat, in row-major order, or binary behind the JSON."""

    name: str
    datatype: str
    shape: list[int]
    data: NotRequired[list[Any]]
    parameters: NotRequired[dict[str, Any]]


class InferenceResponse(TypedDict):
    """The answer to an inference request."""

    model_name: str
    model_version: str
    id: NotRequired[str]
    outputs: list[OutputTensor]


_NAMED: dict[str, Any] = {"name": {"type": "string"}, "parameters": {"type": "object"}}

INDEX_REQUEST: dict[str, Any] = {
    "type": "object",
    "properties": {"ready": {"type": "boolean", "description": "just what is ready"}},
}
"""OpenAPI's words for a request for the index, which may be empty."""

INFERENCE_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "shape", "datatype"],
                "properties": {
                    **_NAMED,
                    "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
                    "datatype": {"type": "string", "enum": list(DTYPES)},
                    "data": {"type": "array", "items": {}},
                },
            },
        },
        "outputs": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": _NAMED}},
    },
}
"""OpenAPI's words for an inference request: the door reads the body itself."""
