"""What looking inside costs in memory, of the service as a process of its own."""

import io
import resource
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from service.inference.contract.card import InputCard, ModelCard, OutputCard
from tests.service.server import Server, running
from tests.service.tiny import write_model

SIDE, DEPTH = 512, 24
MAP = SIDE * SIDE * 8 * 4
"""Bytes of each layer."""


def wide() -> onnx.ModelProto:
    """Hardly any weights, and maps of 8 MiB: layers `0` to `23`, each the one before with its sign turned."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["float"] * 8, ["start"], axis=3),
    ]
    for depth in range(DEPTH):
        before = str(depth - 1) if depth else "start"
        nodes += [
            helper.make_node("Neg", [before], [f"{depth}.neg"]),
            helper.make_node("Add", [f"{depth}.neg", f"{depth}.neg"], [f"{depth}.add"]),
            helper.make_node("Sub", [f"{depth}.add", f"{depth}.neg"], [str(depth)]),
        ]
    nodes += [
        helper.make_node("ReduceMean", [str(DEPTH - 1)], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Softmax", ["mean"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", SIDE, SIDE, 1])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 8])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def card() -> ModelCard:
    size = (SIDE, SIDE)
    given = InputCard(name="pixels", kind="image", size=size, channels=1, colour="GREY", layout="NHWC", dtype="uint8")
    labels = tuple(f"class {number}" for number in range(8))
    return ModelCard(task="multiclass", labels=labels, input=given, output=OutputCard(name="scores"))


def resident(server: Server) -> int:
    """Bytes of the process that are in memory."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def look(server: Server, picture: bytes, layer: str) -> None:
    address = f"{server.url}/v1/models/wide/feature-maps?layer={layer}&pool=mean"
    answer = httpx.post(address, content=picture, headers={"Content-Type": "image/png"}, timeout=60)
    assert answer.status_code == 200, answer.text


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells a process's memory this way")
def test_looking_at_every_layer_takes_no_more_memory_than_looking_at_a_few(tmp_path: Path) -> None:
    write_model(tmp_path / "models" / "wide" / "1" / "model.onnx", wide(), card())
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(buffer, "PNG")
    with running(tmp_path / "models", tmp_path / "log") as server:
        for layer in ("0", "12", "23"):
            look(server, buffer.getvalue(), layer)
        before = resident(server)
        for number in range(DEPTH):
            look(server, buffer.getvalue(), str(number))
        grown = resident(server) - before
    assert grown < DEPTH * MAP / 2, f"{grown / 2**20:.0f} MiB"  # a session that keeps its memory keeps two maps or more
