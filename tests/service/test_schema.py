"""The OpenAPI document is true: whatever follows it, or does not, gets an answer that it promises, and never a 500."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.schemas import OpenApiSchema

from service.app import create_app
from service.settings import Settings
from tests.service.server import running
from tests.service.tiny import write_tiny

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

KNOWN = {"model": "tiny", "version": "1"}

DOORS = [
    (path, method)
    for path, item in create_app(Settings(models=Path("no models"))).openapi()["paths"].items()
    for method in item
]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenApiSchema]:
    folder = tmp_path_factory.mktemp("schema")
    for name in ("tiny", "fashion-mnist"):  # the second is the documents' example
        write_tiny(folder / "models" / name / "1" / "model.onnx")
    with running(folder / "models", folder / "log") as server:
        yield schemathesis.openapi.from_url(f"{server.url}/openapi.json")


@pytest.mark.parametrize(("path", "method"), DOORS)
def test_every_door_answers_as_the_document_says(document: OpenApiSchema, path: str, method: str) -> None:
    cases = st.one_of(*(document[path][method].as_strategy(generation_mode=mode) for mode in GenerationMode))

    @settings(max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(cases, st.booleans())
    def answers(case: schemathesis.Case[Any], known: bool) -> None:
        if known:  # else hardly any request would get past the 404 of its model
            case.path_parameters.update({name: KNOWN[name] for name in case.path_parameters})
        answer = case.call_and_validate(checks=CHECKS)
        seen[answer.status_code] += 1

    seen: Counter[int] = Counter()
    answers()
    assert seen[200] or method == "post", seen


@pytest.mark.parametrize("binary", [False, True])
def test_a_good_inference_is_answered_as_the_document_says(document: OpenApiSchema, binary: bool) -> None:
    entry = {"name": "pixels", "shape": [1, 8, 8, 3], "datatype": "UINT8", "data": [0] * 192}
    body: dict[str, Any] = {"inputs": [entry], "id": "1", "parameters": {"binary_data_output": binary}}
    for path in ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer"):
        parameters = {name: value for name, value in KNOWN.items() if f"{{{name}}}" in path}
        case = document[path]["post"].Case(path_parameters=parameters, body=body, media_type="application/json")
        assert case.call_and_validate(checks=CHECKS).status_code == 200
