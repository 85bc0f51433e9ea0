import pytest
from starlette.requests import Request

from service.api.answers import acceptable, json_answer
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
        ("application/json;q=nonsense, image/png;q=0.1", "image/png"),
    ],
)
def test_the_best_liked_offer_is_chosen(header: str | None, chosen: str) -> None:
    assert acceptable(accepting(header), OFFERS) == chosen


@pytest.mark.parametrize("header", ["text/html", "*/*;q=0", ";", "image/png;q=0, image/webp", "\xff\xfe"])
def test_no_acceptable_offer_is_refused(header: str) -> None:
    with pytest.raises(NotAcceptable, match="application/json"):
        acceptable(accepting(header), OFFERS)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_never_holds_what_json_cannot_say(value: float) -> None:
    with pytest.raises(InvalidRequest, match="x-npz"):
        json_answer({"value": value}, 1000)


def test_an_answer_over_its_limit_is_refused() -> None:
    assert json_answer({"value": 1}, 11).body == b'{"value":1}'
    with pytest.raises(TooLarge):
        json_answer({"value": 1}, 10)
