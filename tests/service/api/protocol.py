"""Requests to the /v2 doors, and the shape of their answers and refusals."""

import json
from typing import Any

import httpx
import numpy as np

INFER = "/v2/models/tiny/infer"
GREEN = np.zeros((1, 8, 8, 3), np.uint8)
GREEN[..., 1] = 255
LENGTH = "Inference-Header-Content-Length"


def asking(array: np.ndarray[Any, Any] = GREEN, *outputs: dict[str, Any], **parameters: object) -> dict[str, Any]:
    """A request to the tiny model, in JSON."""
    entry = {"name": "pixels", "shape": array.shape, "datatype": "UINT8", "data": array.ravel().tolist()}
    return {"inputs": [entry], "outputs": outputs, "parameters": parameters}


def in_binary(array: np.ndarray[Any, Any] = GREEN, **changes: object) -> tuple[bytes, dict[str, str]]:
    """A request to the tiny model: body and headers."""
    parameters = {"binary_data_size": array.nbytes}
    entry = {"name": "pixels", "shape": array.shape, "datatype": "UINT8", "parameters": parameters, **changes}
    head = json.dumps({"inputs": [entry]}).encode()
    return head + array.tobytes(), {LENGTH: str(len(head))}


def tensor(answer: httpx.Response, name: str) -> np.ndarray[Any, Any]:
    """An output that came as JSON."""
    assert answer.status_code == 200, answer.text
    [found] = [output for output in answer.json()["outputs"] if output["name"] == name]
    return np.array(found["data"]).reshape(found["shape"])


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    """Check the one shape that every refusal under /v2 has."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert "total;dur=" in answer.headers["server-timing"]
    body = answer.json()
    assert set(body) == {"error"}
    for word in words:
        assert word in body["error"]
