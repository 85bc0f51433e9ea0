import itertools
import json

import pytest
from starlette.requests import Request

from service.api.answers import acceptable, json_answer, json_list_answer
from service.errors import InvalidRequest, NotAcceptable, TooLarge

OFFERS = ["application/json", "image/png"]


def accepting(header: str | None) -> Request:
    headers = [] if header is None else [(b"accept", header.encode("latin-1"))]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("image/*", "image/png"),
        ("image/png;q=0.9, application/json;q=0.5", "image/png"),
        ("image/png;q=0.5, */*;q=0.9", "application/json"),
        ("IMAGE/PNG", "image/png"),
        ("text/html, image/png ; q=0.1", "image/png"),
        ("application/json;q=nan, image/png;q=0.1", "image/png"),
        ("application/json;q=nonsense, image/png;q=0.1", "image/png"),
    ],
)
def test_the_best_liked_offer_is_chosen(header: str | None, chosen: str) -> None:
    assert acceptable(accepting(header), OFFERS) == chosen


@pytest.mark.parametrize("header", ["text/html", "*/*;q=0", ";", "image/png;q=0, image/webp", "\xff\xfe"])
def test_no_acceptable_offer_is_refused(header: str) -> None:
    with pytest.raises(NotAcceptable, match="application/json"):
        acceptable(accepting(header), OFFERS)


def test_two_headers_count_as_one() -> None:
    headers = [(b"accept", b"text/html"), (b"accept", b"image/png")]
    assert acceptable(Request({"type": "http", "headers": headers}), OFFERS) == "image/png"


def test_a_list_is_encoded_item_by_item_and_no_further_than_the_limit() -> None:
    answer = json_list_answer({"name": "x"}, "items", [{"a": 1}, {"b": 2}], 100)
    assert json.loads(bytes(answer.body)) == {"name": "x", "items": [{"a": 1}, {"b": 2}]}
    assert json.loads(bytes(json_list_answer({"name": "x"}, "items", [], 100).body)) == {"name": "x", "items": []}
    with pytest.raises(TooLarge):
        json_list_answer({"name": "x"}, "items", itertools.repeat({"a": 1}), 1000)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_never_holds_what_json_cannot_say(value: float) -> None:
    with pytest.raises(InvalidRequest, match="NaN or infinity"):
        json_answer({"value": value}, 1000)


def test_a_label_that_is_called_nan_is_none() -> None:
    assert json.loads(bytes(json_answer({"label": "NaN", "other": "Infinity"}, 1000).body))["label"] == "NaN"


def test_an_answer_over_its_limit_is_refused() -> None:
    assert json_answer({"value": 1}, 11).body == b'{"value":1}'
    with pytest.raises(TooLarge):
        json_answer({"value": 1}, 10)
