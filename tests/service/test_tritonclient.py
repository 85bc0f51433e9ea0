"""tritonclient, as it comes from PyPI, against a real server."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.service.odd_models import adding, identity
from tests.service.server import running
from tests.service.tiny import tiny_onnx, write_model, write_tiny

Array = np.ndarray[Any, Any]

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServerClient]:
    folder = tmp_path_factory.mktemp("triton")
    write_tiny(folder / "models" / "tiny" / "1" / "model.onnx")
    for name, model in (
        ("adding", adding()),
        ("text", identity(TensorProto.STRING)),
        ("truth", identity(TensorProto.BOOL)),
        ("half", identity(TensorProto.FLOAT16)),
    ):
        write_model(folder / "models" / name / "1" / "model.onnx", model, None)
    with running(folder / "models", folder / "log") as server:
        client = InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=4)
        yield client
        client.close()


def feed(name: str, array: Array, datatype: str, *, binary: bool = True) -> InferInput:
    return InferInput(name, list(array.shape), datatype).set_data_from_numpy(array, binary_data=binary)


def expected() -> Array:
    return np.asarray(ort.InferenceSession(tiny_onnx().SerializeToString()).run(None, {"pixels": PICTURES})[0])


def test_health_and_metadata(triton: InferenceServerClient) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("tiny")
    assert triton.is_model_ready("tiny", "1")
    assert not triton.is_model_ready("tony")
    assert not triton.is_model_ready("tiny", "2")
    assert "binary_tensor_data" in triton.get_server_metadata()["extensions"]
    assert triton.get_model_metadata("tiny", "1")["inputs"][0]["shape"] == [-1, 8, 8, 3]
    assert triton.get_model_config("tiny")["max_batch_size"] == 32
    index = triton.get_model_repository_index()
    assert {"name": "tiny", "version": "1", "state": "READY", "reason": ""} in index


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_infer_by_json_and_binary_both_ways(triton: InferenceServerClient, binary_in: bool, binary_out: bool) -> None:
    result = triton.infer(
        "tiny",
        [feed("pixels", PICTURES, "UINT8", binary=binary_in)],
        outputs=[InferRequestedOutput("probabilities", binary_data=binary_out)],
        request_id="seven",
        model_version="1",
        timeout=10_000_000,
    )
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected(), atol=1e-6)
    answer = result.get_response()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("seven", "tiny", "1")


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_infer_compressed(triton: InferenceServerClient, algorithm: str) -> None:
    result = triton.infer(
        "tiny",
        [feed("pixels", PICTURES, "UINT8")],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected(), atol=1e-6)


def test_async_infer(triton: InferenceServerClient) -> None:
    asked = [triton.async_infer("tiny", [feed("pixels", PICTURES, "UINT8")], request_id=str(n)) for n in range(20)]
    for number, one in enumerate(asked):
        result = one.get_result()
        assert result.get_response()["id"] == str(number)
        np.testing.assert_allclose(result.as_numpy("probabilities"), expected(), atol=1e-6)


@pytest.mark.parametrize("binary", [True, False])
def test_classification(triton: InferenceServerClient, binary: bool) -> None:
    output = InferRequestedOutput("probabilities", binary_data=binary, class_count=2)
    texts = triton.infer("tiny", [feed("pixels", PICTURES, "UINT8")], outputs=[output]).as_numpy("probabilities")
    assert texts.shape == (3, 2)
    for row, written in zip(expected(), texts, strict=True):
        best = written[0].decode() if binary else written[0]
        value, index, label = best.split(":")
        assert int(index) == row.argmax()
        assert float(value) == pytest.approx(row.max(), abs=1e-6)
        assert label == ("red", "green", "blue")[int(index)]


def test_layers_by_name(triton: InferenceServerClient) -> None:
    outputs = [InferRequestedOutput(name) for name in ("stem.conv", "stem.relu", "probabilities")]
    result = triton.infer("tiny", [feed("pixels", PICTURES, "UINT8")], outputs=outputs)
    pixels = np.moveaxis(PICTURES / np.float32(255), 3, 1)
    np.testing.assert_allclose(result.as_numpy("stem.conv"), pixels, atol=1e-6)
    np.testing.assert_allclose(result.as_numpy("stem.relu"), pixels, atol=1e-6)
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected(), atol=1e-6)


def test_several_inputs_of_several_types(triton: InferenceServerClient) -> None:
    a, b = np.array([[1, -2]], np.float32), np.array([[3, 1]], np.int64)
    result = triton.infer("adding", [feed("b", b, "INT64"), feed("a", a, "FP32", binary=False)])
    assert result.as_numpy("sum").tolist() == [[4, -1]]
    assert result.as_numpy("positive").tolist() == [[True, False]]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("model", "array", "datatype"),
    [
        ("truth", np.array([[True, False]]), "BOOL"),
        ("text", np.array([["né", ""], ["a\0b", "🙂"]], np.object_), "BYTES"),
    ],
)
def test_other_types(triton: InferenceServerClient, model: str, array: Array, datatype: str, binary: bool) -> None:
    result = triton.infer(
        model,
        [feed("x", array, datatype, binary=binary)],
        outputs=[InferRequestedOutput("y", binary_data=binary)],
    ).as_numpy("y")
    given = (
        np.vectorize(lambda text: text.decode(), otypes=[object])(result) if datatype == "BYTES" and binary else result
    )
    np.testing.assert_array_equal(given, array)


def test_half_precision_by_binary_only(triton: InferenceServerClient) -> None:
    array = np.array([[1.5, np.inf]], np.float16)
    assert triton.infer("half", [feed("x", array, "FP16")]).as_numpy("y").tolist() == [[1.5, np.inf]]
    with pytest.raises(InferenceServerException, match="FP16"):
        triton.infer("half", [feed("x", array[:, :1].repeat(2, 1), "FP16", binary=False)])


def test_statistics_count(triton: InferenceServerClient) -> None:
    [before] = triton.get_inference_statistics("tiny", "1")["model_stats"]
    triton.infer("tiny", [feed("pixels", PICTURES, "UINT8")])
    [after] = triton.get_inference_statistics("tiny")["model_stats"]
    assert after["inference_count"] - before["inference_count"] == 3
    assert after["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"] == 1
    assert after["inference_stats"]["compute_infer"]["ns"] > before["inference_stats"]["compute_infer"]["ns"]
    names = {one["name"] for one in triton.get_inference_statistics()["model_stats"]}
    assert names == {"adding", "half", "text", "tiny", "truth"}


def test_errors_come_as_its_exception_with_status_and_reason(triton: InferenceServerClient) -> None:
    good = [feed("pixels", PICTURES, "UINT8")]
    refusals: list[tuple[str, str, Callable[[], object]]] = [
        ("404", "nearest", lambda: triton.infer("tony", good)),
        ("404", "nearest", lambda: triton.get_model_metadata("tiny", "9")),
        ("404", "nearest", lambda: triton.get_inference_statistics("tony")),
        ("400", "does not fit", lambda: triton.infer("tiny", [feed("pixels", PICTURES[0], "UINT8")])),
        ("400", "UINT8", lambda: triton.infer("tiny", [feed("pixels", PICTURES.astype(np.int32), "INT32")])),
        ("400", "stem.relu", lambda: triton.infer("tiny", good, outputs=[InferRequestedOutput("stem.rulu")])),
        ("400", "missing", lambda: triton.infer("adding", [feed("a", np.ones((1, 2), np.float32), "FP32")])),
        ("504", "timeout", lambda: triton.infer("tiny", good, timeout=1)),
    ]
    for status, words, ask in refusals:
        with pytest.raises(InferenceServerException, match=words) as refusal:
            ask()
        assert refusal.value.status() == status
    assert triton.infer("tiny", good).as_numpy("probabilities").shape == (3, 3)
