"""The Open Inference Protocol's metadata and Triton's model configuration: what there is, before anything is sent."""

from collections.abc import Sequence
from importlib.metadata import version

from fastapi import APIRouter, Depends

from service.api.answers import accepts_json
from service.api.protocol import (
    ConfiguredTensor,
    ModelConfig,
    ModelMetadata,
    ModelReady,
    ServerMetadata,
    TensorMetadata,
)
from service.api.services import Served, ServicesOf
from service.inference.contract.signature import Tensor
from service.inference.serving.repository import FILE

PLATFORM = "onnxruntime_onnx"
EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "statistics"]

# Where model_config.proto has another name than the protocol.
TYPES = {"BYTES": "STRING"}

server = APIRouter(tags=["open inference"], dependencies=[Depends(accepts_json)])
router = APIRouter(tags=["open inference"], dependencies=[Depends(accepts_json)])


@server.get("/v2/", include_in_schema=False)
@server.get("/v2")
async def server_metadata() -> ServerMetadata:
    """Who answers, and which extensions of the protocol it speaks."""
    return {"name": "convscope", "version": version("convscope"), "extensions": EXTENSIONS}


@router.get("")
async def model_metadata(served: Served, services: ServicesOf) -> ModelMetadata:
    """What the model takes and gives."""
    signature = served.model.signature
    return {
        "name": served.name,
        "versions": [one.version for one in services.repository.entry(served.name).served()],
        "platform": PLATFORM,
        "inputs": [_described(tensor) for tensor in signature.inputs],
        "outputs": [_described(tensor) for tensor in signature.outputs],
    }


def _described(tensor: Tensor) -> TensorMetadata:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


@router.get("/ready")
async def model_ready(served: Served) -> ModelReady:
    """The model answers."""
    return {"name": served.name, "ready": True}


@router.get("/config")
async def model_config(served: Served, services: ServicesOf) -> ModelConfig:
    """The model as Triton's model_config.proto would describe it."""
    signature, settings = served.model.signature, services.settings
    gpu = served.model.provider != "CPUExecutionProvider"
    described: ModelConfig = {
        "name": served.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "default_model_filename": FILE,
        "version_policy": {"all": {}},
        "max_batch_size": settings.max_batch_size if signature.batches else 0,
        "input": _configured(signature.inputs, rows_left_out=signature.batches),
        "output": _configured(signature.outputs, rows_left_out=signature.batches),
        "instance_group": [{"count": settings.runners, "kind": "KIND_GPU" if gpu else "KIND_CPU"}],
    }
    if signature.batches:
        delay = round(settings.max_queue_delay_ms * 1000)
        described["dynamic_batching"] = {"max_queue_delay_microseconds": delay}
    return described


def _configured(tensors: Sequence[Tensor], *, rows_left_out: bool) -> list[ConfiguredTensor]:
    return [
        {
            "name": tensor.name,
            "data_type": f"TYPE_{TYPES.get(tensor.datatype, tensor.datatype)}",
            "dims": list(tensor.shape[1:] if rows_left_out else tensor.shape),
        }
        for tensor in tensors
    ]
