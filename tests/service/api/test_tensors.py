"""The codec: whatever comes in, tensors or the protocol's error come out; what goes out comes back the same."""

import json
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.api.inference_answers import EncodedOutput, encode
from service.api.inference_requests import InferenceRequest, parse
from service.api.tensors import Array, from_binary, from_json, to_binary, to_json
from service.errors import ConvscopeError, InvalidRequest, NotAcceptable, TooLarge
from service.inference.contract.datatypes import DTYPES
from service.inference.contract.signature import Signature, Tensor

MIB = 1024 * 1024
ONE = Signature((Tensor("x", "FP32", (-1, 3)),), (), batches=True)
NUMBERS = [name for name in DTYPES if name != "BYTES"]

shapes = hnp.array_shapes(min_dims=0, max_dims=4, max_side=4)


@st.composite
def arrays(draw: st.DrawFn, datatype: str, *, finite: bool = False) -> Array:
    shape = draw(shapes)
    if datatype == "BYTES":
        texts = draw(hnp.arrays(np.object_, shape, elements=st.text(st.characters(exclude_categories=["Cs"]))))
        return np.asarray(texts)
    number = {"allow_nan": not finite, "allow_infinity": not finite} if DTYPES[datatype].kind == "f" else {}
    return np.asarray(draw(hnp.arrays(DTYPES[datatype], shape, elements=number or None)))


def request(**changes: object) -> dict[str, Any]:
    """A good request of two rows, with other fields for its input."""
    return {"inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6], **changes}]}


def parsed(document: object, data: bytes = b"", length: str | None = None) -> InferenceRequest:
    head = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse(head + data, (length or str(len(head))) if data or length else None, ONE)


@pytest.mark.parametrize("datatype", DTYPES)
@given(data=st.data())
def test_binary_comes_back_the_same(datatype: str, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype))
    back = from_binary(memoryview(to_binary(array)), datatype, array.shape)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("datatype", [name for name in DTYPES if name != "FP16"])
@given(data=st.data())
def test_json_comes_back_the_same_nested_or_flat(datatype: str, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype, finite=True))
    flat = json.loads(to_json("x", array, MIB))
    for values in (flat, array.tolist() if array.ndim else flat):
        back = from_json(values, datatype, array.shape)
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


@given(st.binary(max_size=200), st.none() | st.text(max_size=30) | st.integers(-5, 300).map(str))
@example(b"", None)
@example(b"", "0")
@example(b"[" * 100_000, None)
@example(b'{"inputs": []}', "9" * 5000)
@example(b'{"a":' * 50_000, None)
def test_any_bytes_and_header_give_tensors_or_the_error(body: bytes, length: str | None) -> None:
    with suppress(ConvscopeError):
        assert parse(body, length, ONE).inputs


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)
inputs = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("x") | json_values,
        "shape": st.lists(st.integers(-1, 4), max_size=4) | json_values,
        "datatype": st.sampled_from(list(DTYPES)) | json_values,
        "data": st.lists(st.integers(-3, 300) | st.floats() | st.booleans() | st.text(max_size=3)) | json_values,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-1, 60) | json_values})
        | json_values,
    },
)
documents = st.fixed_dictionaries(
    {"inputs": st.lists(inputs, max_size=3) | json_values},
    optional={
        "id": json_values,
        "outputs": st.lists(st.fixed_dictionaries({"name": st.just("y") | json_values})) | json_values,
        "parameters": st.fixed_dictionaries({}, optional={"timeout": json_values, "binary_data_output": json_values}),
    },
)


@given(documents, st.binary(max_size=64), st.integers(-2, 2))
@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
def test_any_document_and_data_give_tensors_or_the_error(document: object, data: bytes, lie: int) -> None:
    head = json.dumps(document).encode()
    with suppress(ConvscopeError):
        asked = parse(head + data, str(len(head) + lie), ONE)
        assert all(array.dtype in DTYPES.values() and array.size for array in asked.inputs.values())


def test_a_request_with_everything() -> None:
    document = request(data=[[1, 2.5, 3], [4, 5, 6]]) | {
        "id": "42",
        "parameters": {"binary_data_output": True, "timeout": 1_500_000, "mine": "ignored"},
        "outputs": [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False, "classification": 2}}],
    }
    asked = parsed(document)
    np.testing.assert_array_equal(asked.inputs["x"], np.array([[1, 2.5, 3], [4, 5, 6]], np.float32))
    assert (asked.id, asked.timeout) == ("42", 1.5)
    assert [(output.name, output.binary, output.classes) for output in asked.outputs] == [
        ("a", True, None),
        ("b", False, 2),
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": [2, 4]}, "do not fill"),
        ({"shape": [3, 2], "data": [[1, 2, 3], [4, 5, 6]]}, "nested"),
        ({"data": [[1, 2, 3], [4, 5]]}, "nested"),
        ({"data": [[1, 2, 3], 4, 5, 6]}, "nested"),
        ({"data": [[1, 2, 3], [[4], [5], [6]]]}, "arrays"),
        ({"data": "123456"}, "array"),
        ({"data": None}, "array"),
        ({"shape": [2, -3]}, "below 1"),
        ({"shape": [2, 0]}, "below 1"),
        ({"shape": [2**62, 2**62, 2**62]}, "more values"),
        ({"shape": [10**4000]}, "more values"),
        ({"shape": [2.0, 3]}, "whole numbers"),
        ({"shape": [True, 6]}, "whole numbers"),
        ({"shape": [1] * 65}, "whole numbers"),
        ({"shape": None}, "whole numbers"),
        ({"datatype": "FP33"}, "datatype"),
        ({"datatype": ["FP32"]}, "datatype"),
        ({"datatype": "FP16"}, "binary"),
        ({"datatype": "INT32", "data": [1, 2, 3, 4, 5, 6.0]}, "fractions"),
        ({"datatype": "INT32", "data": [1, 2, 3, 4, 5, True]}, "booleans"),
        ({"datatype": "INT32", "data": [1, 2, 3, 4, 5, "6"]}, "strings"),
        ({"datatype": "INT32", "data": [1, 2, 3, 4, 5, None]}, "null"),
        ({"datatype": "INT32", "data": [1, 2, 3, 4, 5, {}]}, "objects"),
        ({"datatype": "BOOL", "data": [1, 0, 1, 0, 1, 0]}, "true and false"),
        ({"datatype": "BYTES"}, "strings"),
        ({"datatype": "BYTES", "data": ["\ud800"] * 6}, "surrogate"),
        ({"data": [1, 2, 3, 4, 5, False]}, "booleans"),
        ({"data": [1, 2, 3, 4, 5, 1e39]}, "out of range"),
        ({"data": [1, 2, 3, 4, 5, 10**400]}, "out of range"),
        ({"datatype": "UINT8", "data": [1, 2, 3, 4, 5, 256]}, "out of range"),
        ({"datatype": "UINT64", "data": [1, 2, 3, 4, 5, -1]}, "out of range"),
        ({"datatype": "INT64", "data": [1, 2, 3, 4, 5, 2**63]}, "out of range"),
        ({"name": 7}, "name"),
        ({"parameters": []}, "parameters"),
        ({"parameters": {"binary_data_size": 24}}, "both"),
        ({"parameters": {"binary_data_size": "24"}}, "binary_data_size"),
        ({"parameters": {"binary_data_size": -1}}, "binary_data_size"),
    ],
)
def test_an_input_that_makes_no_sense_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parsed(request(**changes))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "malformed"),
        (b"{", "malformed"),
        (b"\xff\xfe\xfd", "malformed"),
        (b"[" * 100_000, "deeply"),
        (b'{"id": ' + b"9" * 5000 + b"}", "malformed"),
        (b"[]", "not an object"),
        (b"{}", "no inputs"),
        (b'{"inputs": []}', "no inputs"),
        (b'{"inputs": {}}', "array of objects"),
        (b'{"inputs": [1]}', "array of objects"),
        (b'{"id": "1", "id": "2"}', "twice"),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [NaN]}]}', "NaN is no JSON"),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [-Infinity]}]}', "-Infinity is no"),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1e999]}]}', "out of range"),
        (json.dumps({"inputs": request()["inputs"] * 2}).encode(), "twice"),
        (json.dumps(request() | {"id": 7}).encode(), "id"),
        (json.dumps(request() | {"parameters": {"timeout": -1}}).encode(), "timeout"),
        (json.dumps(request() | {"parameters": {"timeout": 1.5}}).encode(), "timeout"),
        (json.dumps(request() | {"parameters": {"binary_data_output": 1}}).encode(), "binary_data_output"),
        (json.dumps(request() | {"outputs": [{"name": "y"}] * 2}).encode(), "twice"),
        (json.dumps(request() | {"outputs": ["y"]}).encode(), "array of objects"),
        (json.dumps(request() | {"outputs": [{"name": "y", "parameters": {"classification": 0}}]}).encode(), "class"),
        (json.dumps(request() | {"outputs": [{"name": "y", "parameters": {"binary_data": "no"}}]}).encode(), "binary"),
    ],
)
def test_a_document_that_makes_no_sense_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parse(body, None, ONE)


def binary(size: object, datatype: str = "FP32", shape: tuple[int, ...] = (2, 3)) -> dict[str, Any]:
    entry = {"name": "x", "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}
    return {"inputs": [entry]}


@pytest.mark.parametrize(
    ("document", "data", "words"),
    [
        (binary(24), bytes(23), "23 bytes are left"),
        (binary(24), bytes(25), "belong to no input"),
        (binary(20), bytes(20), "do not fill"),
        (binary(10**30), bytes(24), "bytes are left"),
        (binary(24, shape=(2**40, 2**20)), bytes(24), "do not fill"),
        (binary(6, "BOOL"), b"\0\1\0\1\0\2", "0 or 1"),
        (binary(3, "BYTES", (1,)), bytes(3), "cannot hold"),
        (binary(5, "BYTES", (1,)), b"\2\0\0\0a", "ends behind"),
        (binary(5, "BYTES", (1,)), b"\xff\xff\xff\xffa", "ends behind"),
        (binary(6, "BYTES", (1,)), b"\1\0\0\0ab", "left behind"),
        (binary(5, "BYTES", (1,)), b"\1\0\0\0\xff", "UTF-8"),
        (binary(5, "BYTES", (2**40,)), b"\1\0\0\0a", "cannot hold"),
        (request(), bytes(24), "belong to no input"),
    ],
)
def test_binary_data_that_do_not_fit_are_refused(document: dict[str, Any], data: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parsed(document, data)


@pytest.mark.parametrize("length", ["-1", "+5", "1e2", " 7", "", "٣", "999999", "9" * 21, "9" * 5000])
def test_a_header_length_that_lies_is_refused(length: str) -> None:
    with pytest.raises(InvalidRequest, match="Inference-Header-Content-Length"):
        parse(json.dumps(request()).encode(), length, ONE)


def test_unaligned_data_become_aligned_arrays() -> None:
    body = b"-" + struct.pack("<3d", 1, 2, 3)
    array = from_binary(memoryview(body)[1:], "FP64", [3])
    assert array.flags.aligned
    assert array.flags.writeable
    assert array.tolist() == [1, 2, 3]


def test_a_raw_request_is_one_row_and_wants_binary() -> None:
    asked = parse(struct.pack("<3f", 1, 2, 3), "0", ONE)
    assert asked.inputs["x"].tolist() == [[1, 2, 3]]
    assert asked.binary
    free = Signature((Tensor("x", "INT16", (-1, 2)),), (), batches=False)
    assert parse(bytes(12), "0", free).inputs["x"].shape == (3, 2)
    text = Signature((Tensor("x", "BYTES", (-1, 1)),), (), batches=True)
    assert parse("né".encode(), "0", text).inputs["x"].tolist() == [["né"]]


@pytest.mark.parametrize(
    ("tensors", "size"),
    [
        ([Tensor("x", "FP32", (-1, 3))], 13),
        ([Tensor("x", "FP32", (-1, 3))], 24),
        ([Tensor("x", "FP32", (-1, 3))], 0),
        ([Tensor("x", "FP32", (-1, -1, -1))], 12),
        ([Tensor("x", "BYTES", (-1, 2))], 12),
        ([Tensor("x", "seq(tensor(float))", (-1, 2))], 12),
        ([Tensor("x", "FP32", (-1, 3)), Tensor("y", "FP32", (-1, 3))], 12),
    ],
)
def test_a_raw_request_whose_shape_nobody_can_tell_is_refused(tensors: list[Tensor], size: int) -> None:
    with pytest.raises(InvalidRequest):
        parse(bytes(size), "0", Signature(tuple(tensors), (), batches=True))


def test_json_of_too_many_values_or_objects_is_refused_unread() -> None:
    for body in (b'{"inputs":[' + b"1," * 2_000_000, b"[]," * 700_001, b"{" * 100_001):
        with pytest.raises(TooLarge, match="binary"):
            parse(body, None, ONE)


def test_too_many_texts_are_refused_unread() -> None:
    with pytest.raises(TooLarge, match="2000001"):
        from_binary(memoryview(bytes(4 * 2_000_001)), "BYTES", [2_000_001])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_go_out_as_binary_only(bad: float) -> None:
    array = np.array([1, bad], np.float32)
    with pytest.raises(InvalidRequest, match="binary"):
        to_json("y", array, MIB)
    np.testing.assert_array_equal(np.frombuffer(to_binary(array), "<f4"), array)


def test_fp16_goes_out_as_binary_only() -> None:
    with pytest.raises(InvalidRequest, match="binary"):
        to_json("y", np.ones(3, np.float16), MIB)


@pytest.mark.parametrize("binary_data", [False, True])
def test_an_answer_over_its_limit_is_refused_as_soon_as_it_is(binary_data: bool) -> None:
    with pytest.raises(TooLarge, match="1000"):
        EncodedOutput.of("y", np.zeros(10_000_000, np.uint8), binary=binary_data, max_bytes=1000)


def test_many_outputs_together_are_over_the_limit_as_well() -> None:
    outputs = [EncodedOutput.of(name, np.ones(300, np.uint8), binary=name == "b", max_bytes=1000) for name in "abc"]
    with pytest.raises(TooLarge):
        encode({}, outputs, 1000)


@pytest.mark.parametrize("value", [[np.ones(3)], {"a": 1}, np.ones(3, np.complex64)])
def test_what_is_no_tensor_of_the_protocol_cannot_go_out(value: Any) -> None:
    with pytest.raises(NotAcceptable):
        EncodedOutput.of("y", value, binary=True, max_bytes=MIB)


def test_an_answer_in_json_and_binary() -> None:
    arrays = {"a": np.array([[1.5, 2]], np.float32), "b": np.array(["é", ""], np.object_), "c": np.array(True)}
    outputs = [EncodedOutput.of(name, array, binary=name == "b", max_bytes=MIB) for name, array in arrays.items()]
    answer = encode({"model_name": "m"}, outputs, MIB)
    assert json.loads(answer.body[: answer.header_length]) == {
        "model_name": "m",
        "outputs": [
            {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2.0]},
            {"name": "b", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 10}},
            {"name": "c", "datatype": "BOOL", "shape": [], "data": [True]},
        ],
    }
    assert answer.body[answer.header_length :] == b"\2\0\0\0\xc3\xa9\0\0\0\0"
