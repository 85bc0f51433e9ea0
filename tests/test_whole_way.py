"""The committed model over HTTP, held against the file, against PyTorch and against what models/README.md says."""

import io
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
from tests.service.gate import until
from tests.service.server import running
from training.data.table import data_set
from training.export import MODEL, exported
from training.parity import layer_outputs, module_outputs

ROOT = Path(__file__).parents[1]
VERSION = ROOT / "models" / "fashion-mnist" / "1"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
DOOR = "/v1/models/fashion-mnist/versions/1"


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@pytest.fixture
def pictures() -> NDArray[np.uint8]:
    """The samples, uint8 [5, 28, 28]."""
    return np.stack([np.asarray(Image.open(file)) for file in sorted((ROOT / "docs" / "samples").glob("*.png"))])


async def test_every_layer_over_http_equals_onnxruntime_and_the_module_of_its_name(
    pictures: NDArray[np.uint8],
) -> None:
    app = create_app(Settings(models=ROOT / "models"))
    transport = ASGITransport(app)
    async with LifespanManager(app), AsyncClient(transport=transport, base_url="http://service") as client:
        await until(lambda: app.state.services.repository.loaded)
        names = [row["name"] for row in (await client.get(f"{DOOR}/layers")).json()["layers"]]
        answer = await client.post(
            f"{DOOR}/feature-maps",
            params={"layer": names},
            files=[("images", ("a.png", png(picture), "image/png")) for picture in pictures],
            headers={"Accept": "application/x-npz"},
        )
    maps = dict(np.load(io.BytesIO(answer.content), allow_pickle=False))
    assert list(maps) == names
    batch = pictures[..., np.newaxis]
    ours = layer_outputs(onnx.load(VERSION / MODEL), batch)
    torchs = module_outputs(exported(VERSION).network, batch)
    assert maps.keys() - torchs.keys() == {"input.scaled.cast", "input.scaled.sub", "probabilities"}
    for name, values in maps.items():
        for truth in (ours[name], torchs.get(name, ours[name])):
            np.testing.assert_allclose(values, truth, rtol=0, atol=1e-4 * np.abs(truth).max(), err_msg=name)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
async def test_all_test_pictures_as_png_over_http_give_the_accuracy_that_is_stated(tmp_path: Path) -> None:
    data = data_set("fashion-mnist")
    test = data.read_test(DEBIAN)
    encoded = [png(pixels.squeeze(-1)) for pixels in test.inputs.numpy()]
    predicted: list[int] = []
    with running(ROOT / "models", tmp_path / "log") as server:
        async with AsyncClient(base_url=server.url, timeout=60) as client:
            for start in range(0, len(encoded), 250):
                files = [("images", ("a.png", body, "image/png")) for body in encoded[start : start + 250]]
                answer = await client.post(f"{DOOR}/predict", params={"top_k": 1}, files=files)
                assert answer.status_code == 200, answer.text
                predicted += [found["classes"][0]["index"] for found in answer.json()["predictions"]]
            description = (await client.get(DOOR)).json()
    accuracy = float((np.array(predicted) == test.targets.numpy()).mean())
    assert len(predicted) == 10_000
    assert accuracy == description["card"]["evaluation"]["accuracy"]
    assert f"{accuracy:.2%}" in (ROOT / "models" / "README.md").read_text().replace(" %", "%")
