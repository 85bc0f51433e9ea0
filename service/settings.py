"""Settings: everything that can be set from outside, by environment variables called CONVSCOPE_<FIELD>."""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "CONVSCOPE_"
MIB = 1024 * 1024


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """The effective settings, immutable; README lists them with these very descriptions."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    models: Path = Field(Path("models"), description="folder of the models: NAME/VERSION/model.onnx")
    default_model: str = Field(
        "cifar10", description="what `/v1/models` names as the default, where it is there; else the first by name"
    )
    providers: str = Field(
        "auto",
        description="what onnxruntime runs on: auto, cpu, cuda, or a list in order; what is named must be usable",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")

    max_body_bytes: PositiveInt = Field(64 * MIB, description="largest request body")
    max_pictures: PositiveInt = Field(256, description="most pictures in one request")
    max_pixels: PositiveInt = Field(100_000_000, description="most pixels in one picture, as its header states them")
    max_pixels_in_flight: PositiveInt = Field(
        100_000_000, description="most pixels being decoded at once, of all requests"
    )
    max_answer_bytes: PositiveInt = Field(
        256 * MIB, description="largest answer, and most feature-map values held for it"
    )
    upload_timeout_ms: PositiveInt = Field(30_000, description="longest time for a body to come in, in milliseconds")
    timeout_ms: PositiveInt = Field(30_000, description="deadline of a request, from its last byte in, in milliseconds")

    pre_drain_ms: NonNegativeInt = Field(
        0,
        description="after SIGTERM: how long to serve on, no longer ready, so that balancers notice, in milliseconds",
    )
    drain_timeout_ms: PositiveInt = Field(
        35_000, description="after that: longest time to finish what was accepted, in milliseconds"
    )
    stuck_run_ms: PositiveInt = Field(60_000, description="a run that takes longer fails liveness, in milliseconds")

    max_batch_size: PositiveInt = Field(32, description="most inputs in one run of a model")
    max_queue_size: PositiveInt = Field(1024, description="most inputs waiting for a model")
    max_queue_delay_ms: NonNegativeFloat = Field(0.0, description="longest wait for a batch to fill, in milliseconds")
    runners: PositiveInt = Field(1, description="runs of one model side by side, each on a thread of its own")
    intra_op_threads: PositiveInt = Field(default_factory=_cores, description="onnxruntime's threads within one run")
    decode_threads: PositiveInt = Field(default_factory=_cores, description="pictures decoded side by side")
    feature_map_bytes: PositiveInt = Field(
        256 * MIB, description="graphs and weights of the sets of layers kept ready to be looked at, per model"
    )
    feature_map_queue: PositiveInt = Field(64, description="most requests waiting to look inside one model")

    @model_validator(mode="after")
    def _largest_request_fits_the_queue(self) -> Self:
        if self.max_pictures > self.max_queue_size:
            raise ValueError(f"{PREFIX}MAX_PICTURES cannot exceed {PREFIX}MAX_QUEUE_SIZE: it could never be admitted")
        return self
