import io
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from asgi_lifespan import LifespanManager
from PIL import Image

from service.api.services import Services
from service.app import create_app
from service.settings import Settings
from tests.service.gate import until
from tests.service.tiny import write_tiny


class Client(httpx.AsyncClient):
    """A client of a service in this process."""

    services: Services

    async def predict(self, body: bytes, *, model: str = "tiny", **parameters: int) -> httpx.Response:
        """Send one picture."""
        headers = {"Content-Type": "image/png"}
        return await self.post(f"/v1/models/{model}/predict", content=body, headers=headers, params=parameters)

    @property
    def waiting(self) -> float | None:
        """Inputs in the tiny model's queue."""
        labels = {"model": "tiny", "version": "1"}
        return self.services.metrics.registry.get_sample_value("convscope_queue_depth", labels)

    async def metrics(self) -> str:
        """What /metrics gives, as text."""
        return (await self.get("/metrics")).text


Serve = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        for name in [f"CONVSCOPE_{field.upper()}" for field in Settings.model_fields]:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models folder with the tiny model in it."""
    folder = tmp_path / "models"
    write_tiny(folder / "tiny" / "1" / "model.onnx")
    return folder


@pytest.fixture
def serve(models: Path) -> Serve:
    """In process: `async with serve(max_pictures=3) as client`."""

    @asynccontextmanager
    async def serving(**changes: object) -> AsyncIterator[Client]:
        app = create_app(Settings.model_validate({"models": models, **changes}))
        async with LifespanManager(app) as manager:
            await until(lambda: app.state.services.repository.loaded)
            transport = httpx.ASGITransport(manager.app)
            async with Client(transport=transport, base_url="http://service") as client:
                client.services = app.state.services
                yield client

    return serving


@pytest.fixture
async def client(serve: Serve) -> AsyncIterator[Client]:
    async with serve() as client:
        yield client


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """An encoded picture of one colour: `picture("red", format="JPEG", size=(8, 8))`."""

    def encoded(colour: str = "red", *, format: str = "PNG", size: tuple[int, int] = (8, 8)) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", size, colour).save(buffer, format)
        return buffer.getvalue()

    return encoded
