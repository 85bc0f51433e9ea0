"""The committed models over HTTP, held against the file, against PyTorch and against what models/README.md says."""

import io
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from asgi_lifespan import LifespanManager
from httpx import ASGITransport, AsyncClient
from numpy.typing import NDArray
from PIL import Image

from service.app import create_app
from service.settings import Settings
from tests.service.fashion import installed
from tests.service.gate import until
from tests.service.server import running
from training.data.table import data_set
from training.export import MODEL, card_of, exported
from training.parity import layer_outputs, module_outputs

ROOT = Path(__file__).parents[1]
DOOR = "/v1/models/{}/versions/{}"


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["fashion-mnist/1", "fashion-mnist/2", "cifar10/1", "cats-dogs/1"])
async def test_every_layer_over_http_equals_onnxruntime_and_the_module_of_its_name(name: str) -> None:
    version, door = ROOT / "models" / name, DOOR.format(*name.split("/"))
    batch = np.random.default_rng(1).integers(0, 256, (5, *card_of(version / MODEL).input.shape), np.uint8)
    app = create_app(Settings(models=ROOT / "models"))
    transport = ASGITransport(app)
    async with LifespanManager(app), AsyncClient(transport=transport, base_url="http://service") as client:
        await until(lambda: app.state.services.repository.loaded)
        names = [row["name"] for row in (await client.get(f"{door}/layers")).json()["layers"]]
        answer = await client.post(
            f"{door}/feature-maps",
            params={"layer": names},
            files=[("images", ("a.png", png(picture.squeeze()), "image/png")) for picture in batch],
            headers={"Accept": "application/x-npz"},
        )
    maps = dict(np.load(io.BytesIO(answer.content), allow_pickle=False))
    assert list(maps) == names
    ours = layer_outputs(onnx.load(version / MODEL), batch)
    torchs = module_outputs(exported(version).network, batch)
    functions = r"input\.scaled\.(cast|sub)|stage\d(\.block\d)?\.(add|pad)|temperature\.div|probabilities"
    assert all(re.fullmatch(functions, rest) for rest in maps.keys() - torchs.keys())
    for name, values in maps.items():
        for truth in (ours[name], torchs.get(name, ours[name])):
            np.testing.assert_allclose(values, truth, rtol=0, atol=1e-4 * np.abs(truth).max(), err_msg=name)


@pytest.mark.parametrize("version", ["1", "2"])
async def test_all_test_pictures_as_png_over_http_give_the_accuracy_that_is_stated(
    version: str, tmp_path: Path
) -> None:
    door = DOOR.format("fashion-mnist", version)
    data = data_set("fashion-mnist")
    test = data.read_test(installed())
    encoded = [png(pixels.squeeze(-1)) for pixels in test.inputs.numpy()]
    predicted: list[int] = []
    with running(ROOT / "models", tmp_path / "log") as server:
        async with AsyncClient(base_url=server.url, timeout=60) as client:
            for start in range(0, len(encoded), 250):
                files = [("images", ("a.png", body, "image/png")) for body in encoded[start : start + 250]]
                answer = await client.post(f"{door}/predict", params={"top_k": 1}, files=files)
                assert answer.status_code == 200, answer.text
                predicted += [found["classes"][0]["index"] for found in answer.json()["predictions"]]
            description = (await client.get(door)).json()
    accuracy = float((np.array(predicted) == test.targets.numpy()).mean())
    assert len(predicted) == 10_000
    assert accuracy == description["card"]["evaluation"]["accuracy"]
    assert f"{accuracy:.2%}" in (ROOT / "models" / "README.md").read_text().replace(" %", "%")
