"""ModelCard: what a model file says about itself. It travels in the file's metadata, or as card.json beside it."""

import base64
import math
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

METADATA_KEY = "convscope.card"


class Part(BaseModel):
    """Base of all parts of the card: immutable, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InputCard(Part):
    """How a picture, signal or volume becomes the graph's input: `(value * scale - mean) / std`, per channel."""

    name: str = Field(description="the graph's input")
    kind: Literal["image", "signal", "volume", "tensor"]
    size: tuple[PositiveInt, ...] = Field(description="extent in space: (height, width) for an image")
    channels: PositiveInt
    colour: Literal["RGB", "BGR", "GREY"] | None = Field(None, description="order of an image's channels")
    layout: Literal["NHWC", "NCHW"] = Field(description="channels last or first, whatever the rank")
    dtype: Literal["uint8", "float16", "float32"]
    fit: Literal["stretch", "crop", "pad"] = Field(
        "stretch", description="stretch to the size; crop what protrudes from its centre; pad with black around"
    )
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = Field(
        "bilinear", description="Pillow's filter of that name, with antialias"
    )
    scale: float = Field(1.0, description="factor on pixel values of 0 to 255")
    mean: tuple[float, ...] = Field((), description="taken off each scaled channel; empty: nothing")
    std: tuple[float, ...] = Field((), description="divides each channel after that; empty: nothing")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        rank = {"signal": 1, "image": 2, "volume": 3}.get(self.kind)
        if rank is not None and len(self.size) != rank:
            raise ValueError(f"an input of kind {self.kind} has {rank} extents, not {len(self.size)}")
        if self.kind == "image" and self.channels != {"GREY": 1, "RGB": 3, "BGR": 3, None: 0}[self.colour]:
            raise ValueError(f"an image of colour {self.colour} cannot have {self.channels} channels")
        if any(len(values) not in (0, self.channels) for values in (self.mean, self.std)):
            raise ValueError("mean and std have one value per channel, or none")
        if self.dtype == "uint8" and (self.scale != 1.0 or self.mean or self.std):
            raise ValueError("a uint8 input takes pixels as they are: no scale, mean or std")
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input without the batch dimension, in the card's layout."""
        return (*self.size, self.channels) if self.layout == "NHWC" else (self.channels, *self.size)


class OutputCard(Part):
    """What the graph yields: one row of scores per input."""

    name: str = Field(description="the graph's output")
    activation: Literal["none", "softmax", "sigmoid"] = Field(
        "none", description="what the service still has to apply to get probabilities"
    )


class Quantisation(Part):
    """How a file of 8-bit integers was made of a float one."""

    source: str = Field(description="the float model and its version: NAME/VERSION")
    sha256: str = Field(description="of the float file, its first digits")
    method: str
    count: PositiveInt = Field(description="training inputs that the ranges of activations were read off")
    command: str
    versions: dict[str, str]


class Provenance(Part):
    """Where the weights come from, so that they can be made again."""

    data: str
    licence: str = Field(description="of the data")
    recipe: dict[str, str | int | float | bool]
    seed: int
    versions: dict[str, str]
    command: str
    quantised: Quantisation | None = None


class Evaluation(Part):
    """Measured on data that training never saw."""

    accuracy: Annotated[float, Field(ge=0, le=1)]
    count: PositiveInt
    per_class: dict[str, float]


class Calibration(Part):
    """How far confidence is from accuracy on the evaluation's inputs, before and after logits / temperature."""

    temperature: Annotated[float, Field(gt=0, description="fitted on data that training never saw; in the graph")]
    error_before: Annotated[float, Field(ge=0, le=1)] = Field(description="expected calibration error, 15 bins")
    error_after: Annotated[float, Field(ge=0, le=1)]
    count: PositiveInt


class Parity(Part):
    """How far the file and what it was made of differ on the same inputs, in probability."""

    reference: str = Field(description="PyTorch; for a quantised file, the float one")
    largest_difference: float
    count: PositiveInt


class Golden(Part):
    """One input with the answer that this very file gave when it was exported."""

    shape: tuple[PositiveInt, ...] = Field(description="of the input, without the batch dimension")
    pixels: str = Field(description="the input's bytes in C order, in the input's dtype, as base64")
    output: tuple[float, ...] = Field(description="the output's row")

    @classmethod
    def of(cls, pixels: NDArray[np.generic], output: NDArray[np.floating]) -> Self:
        """Record `output` (one row) as the answer to `pixels` (one input, no batch dimension)."""
        encoded = base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode()
        return cls(shape=pixels.shape, pixels=encoded, output=tuple(float(value) for value in output.ravel()))

    def array(self, dtype: str) -> NDArray[np.generic]:
        """The input as an array of `shape`. Raises ValueError when the bytes do not fill it."""
        return np.frombuffer(base64.b64decode(self.pixels), dtype=dtype).reshape(self.shape)


class ModelCard(Part):
    """What a model file says about itself."""

    format: Literal["convscope/1"] = "convscope/1"
    task: Literal["multiclass", "binary"]
    labels: tuple[str, ...] = Field(min_length=2, description="by index; ImageNet's own list names two things a crane")
    input: InputCard
    output: OutputCard
    provenance: Provenance | None = None
    evaluation: Evaluation | None = None
    calibration: Calibration | None = None
    parity: Parity | None = None
    golden: tuple[Golden, ...] = ()
    tolerance: Annotated[float, Field(gt=0)] = Field(1e-4, description="largest difference allowed from golden outputs")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.task == "binary" and len(self.labels) != 2:
            raise ValueError("a binary task has exactly two labels")
        for golden in self.golden:
            if golden.shape != self.input.shape:
                raise ValueError(f"a golden input has shape {golden.shape}, the card says {self.input.shape}")
            if len(golden.output) != self.outputs:
                raise ValueError(f"a golden output has {len(golden.output)} values, not {self.outputs}")
            size = math.prod(golden.shape) * np.dtype(self.input.dtype).itemsize
            if len(base64.b64decode(golden.pixels)) != size:
                raise ValueError("a golden input's bytes do not fill its shape")
        return self

    @property
    def outputs(self) -> int:
        """Values in one output row: one per label, or one alone for a yes-or-no model."""
        return 1 if self.task == "binary" else len(self.labels)
