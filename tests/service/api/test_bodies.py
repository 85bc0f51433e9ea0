import asyncio
import base64
import json
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from service.api.bodies import pictures_of, read_body
from service.errors import ClientGone, ConvscopeError, InvalidRequest, TooLarge, UnsupportedType

FORM = "multipart/form-data; boundary=frontier"


def form(*parts: bytes, name: str = "images", end: bytes = b"--frontier--\r\n") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="a.png"\r\nContent-Type: image/png'.encode()
    return b"".join(b"--frontier\r\n" + head + b"\r\n\r\n" + part + b"\r\n" for part in parts) + end


def document(*pictures: bytes) -> bytes:
    return json.dumps({"images": [base64.b64encode(picture).decode() for picture in pictures]}).encode()


def pictures(content_type: str | None, body: bytes, limit: int = 256) -> list[bytes]:
    return pictures_of(content_type, body, max_pictures=limit)


# The three forms


@pytest.mark.parametrize("content_type", ["image/png", "IMAGE/JPEG", "image/x-unheard-of; q=1", " image/webp "])
def test_image_body_is_the_picture(content_type: str) -> None:
    assert pictures(content_type, b"\x89PNG") == [b"\x89PNG"]


@pytest.mark.parametrize("content_type", [FORM, 'Multipart/Form-Data; Boundary="frontier"; charset=utf-8'])
def test_form_gives_its_parts_in_order(content_type: str) -> None:
    assert pictures(content_type, form(b"one", b"two", b"three")) == [b"one", b"two", b"three"]


def test_form_keeps_every_byte() -> None:
    awkward = b"\r\n--front\r\n\0\xff--frontier\r\n--frontieR\r\n\r\r\n--frontier"[:-1] + b"x\n\r"
    assert pictures(FORM, form(awkward, bytes(range(256)))) == [awkward, bytes(range(256))]


def test_epilogue_is_ignored() -> None:
    assert pictures(FORM, form(b"one") + b"more words") == [b"one"]


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
def test_json_gives_its_strings_decoded_in_order(content_type: str) -> None:
    assert pictures(content_type, document(b"one", b"\xff\0")) == [b"one", b"\xff\0"]


def test_picture_of_zero_bytes_is_passed_on() -> None:
    assert pictures(FORM, form(b"one", b"")) == [b"one", b""]
    assert pictures("application/json", document(b"one", b"")) == [b"one", b""]


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=5))
def test_what_is_sent_arrives(sent: list[bytes]) -> None:
    assert pictures("application/json", document(*sent)) == sent
    if not any(b"--frontier" in part for part in sent):
        assert pictures(FORM, form(*sent)) == sent


# Refusals


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/octet-stream", "multipart/mixed", "image"]
)
def test_other_content_types_are_refused_with_those_accepted(content_type: str | None) -> None:
    with pytest.raises(UnsupportedType, match=r"image/\*, multipart/form-data .*application/json"):
        pictures(content_type, b"something")


@pytest.mark.parametrize("content_type", [None, "image/png", FORM, "application/json", "text/plain"])
def test_empty_body_is_refused(content_type: str | None) -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        pictures(content_type, b"")


@pytest.mark.parametrize(
    ("content_type", "body", "reason"),
    [
        ("multipart/form-data", form(b"one"), "no boundary"),
        ("multipart/form-data; boundary=", form(b"one"), "no boundary"),
        ("multipart/form-data; boundary=" + "x" * 300, form(b"one"), "malformed"),
        (FORM, b"just some words", "malformed"),
        (FORM, form(b"one", end=b""), "before its closing boundary"),
        (FORM, form(b"one", end=b"--frontier"), "before its closing boundary"),
        (FORM, form(b"one")[:60], "before its closing boundary"),
        (FORM, b"\r\n\r\n", "before its closing boundary"),
        (FORM, b"--frontier--\r\n", 'no field "images"'),
        (FORM, form(b"one", name="files"), 'part 0 of the form is the field "files"; the field expected is "images"'),
        (FORM, b"--frontier\r\n\r\none\r\n--frontier--\r\n", 'field ""; the field expected is "images"'),
        (FORM, b"--frontier\r\nA\0: b\r\n\r\none\r\n--frontier--\r\n", "malformed"),
        (FORM, b"--frontier\r\n" + b"A: b\r\n" * 1000 + b"\r\none\r\n--frontier--\r\n", "malformed"),
    ],
)
def test_malformed_form_is_refused(content_type: str, body: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        pictures(content_type, body)


def test_second_part_of_another_name_is_named() -> None:
    mixed = form(b"one", end=b"") + form(b"two", name="label")
    with pytest.raises(InvalidRequest, match='part 1 of the form is the field "label"'):
        pictures(FORM, mixed)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "malformed JSON"),
        (b"\xff\xfe\xfd", "malformed JSON"),
        (b'{"images": [' + b"1" * 5000 + b"]}", "malformed JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"images":' * 100_000, "nested too deeply"),
        (b"[]", "not of the form"),
        (b"null", "not of the form"),
        (b"{}", "not of the form"),
        (b'{"image": ["YQ=="]}', "not of the form"),
        (b'{"images": ["YQ=="], "top_k": 3}', "not of the form"),
        (b'{"images": "YQ=="}', "not of the form"),
        (b'{"images": null}', "not of the form"),
        (b'{"images": []}', "at least one"),
        (b'{"images": ["YQ==", 7]}', "image 1: not a string of base64 but int"),
        (b'{"images": [["YQ=="]]}', "image 0: not a string of base64 but list"),
        (b'{"images": ["YQ==", "YQ"]}', "image 1: not valid base64"),
        (b'{"images": ["Y Q=="]}', "image 0: not valid base64"),
        (b'{"images": ["YQ==\\n"]}', "image 0: not valid base64"),
        (b'{"images": ["YQ==YQ=="]}', "image 0: not valid base64"),
        (b'{"images": ["-_-_"]}', "image 0: not valid base64"),
        ('{"images": ["Yü=="]}'.encode(), "image 0: not valid base64"),
        (b'{"images": ["\\ud800"]}', "image 0: not valid base64"),
        (b'{"images": ["data:image/png;base64,YQ=="]}', "leave out the prefix"),
    ],
)
def test_malformed_json_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        pictures("application/json", body)


# Limits


@pytest.mark.parametrize(("content_type", "make"), [(FORM, form), ("application/json", document)])
def test_too_many_pictures_are_refused_with_both_numbers(content_type: str, make: Callable[..., bytes]) -> None:
    assert len(pictures(content_type, make(*[b"x"] * 3), 3)) == 3
    with pytest.raises(TooLarge, match=r"\b4 pictures .*\b3\b"):
        pictures(content_type, make(*[b"x"] * 4), 3)
    with pytest.raises(TooLarge, match=r"10001 pictures .*256"):
        pictures(content_type, make(*[b""] * 10_001))


def test_form_is_not_read_beyond_the_first_part_too_many() -> None:
    with pytest.raises(TooLarge):
        pictures(FORM, form(*[b"x"] * 4, end=b"") + form(b"x", name="unexpected"), 3)
    with pytest.raises(TooLarge, match="4 pictures"):
        pictures(FORM, form(*[b"x"] * 4, end=b"--frontier\r\n")[:-40], 3)


def test_json_of_countless_values_is_refused_unparsed() -> None:
    with pytest.raises(TooLarge, match=r"about 200001 values.* 256 pictures"):
        pictures("application/json", b'{"images": [' + b"[]," * 200_000)


# Whatever comes

TYPES = st.sampled_from([None, "image/png", FORM, "application/json", "multipart/form-data; boundary=a"]) | st.text()
PIECES = st.sampled_from(
    [
        b"--frontier",
        b"\r\n",
        b"--",
        b"Content-Disposition: form-data; name=images",
        b": ",
        b"\r\n\r\n",
        b"x",
        b"-",
        b" ",
    ]
)
BODIES = st.binary(max_size=100) | st.lists(PIECES, max_size=20).map(b"".join)


@given(TYPES, BODIES)
def test_any_body_gives_pictures_or_a_refusal(content_type: str | None, body: bytes) -> None:
    try:
        found = pictures(content_type, body, 2)
    except (InvalidRequest, TooLarge, UnsupportedType):
        return
    assert 1 <= len(found) <= 2


@given(st.integers(0, 300), st.binary(max_size=8), st.sampled_from([FORM, "application/json"]))
def test_damaged_bodies_give_pictures_or_a_refusal(place: int, extra: bytes, content_type: str) -> None:
    body = form(b"one", b"two") if content_type == FORM else document(b"one", b"two")
    cut = place % len(body)
    for damaged in (body[:cut] + extra, body[:cut] + extra + body[cut:], body[:cut] + extra + body[cut + len(extra) :]):
        try:
            assert all(isinstance(picture, bytes) for picture in pictures(content_type, damaged))
        except (InvalidRequest, TooLarge):
            continue


# Reading


class Sender:
    """A client that sends these messages; `read` counts how many were asked for."""

    def __init__(self, *chunks: bytes, stays: bool = True, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._messages: list[Message] = [
            {"type": "http.request", "body": chunk, "more_body": not stays or place < len(chunks) - 1}
            for place, chunk in enumerate(chunks)
        ]
        if not stays:
            self._messages.append({"type": "http.disconnect"})
        self._headers = list(headers)
        self.read = 0

    async def _receive(self) -> Message:
        self.read += 1
        return self._messages[self.read - 1]

    def body(self, limit: int) -> bytes:
        scope = {"type": "http", "method": "POST", "headers": self._headers}
        return asyncio.run(read_body(Request(scope, self._receive), limit))


def test_body_is_joined() -> None:
    assert Sender(b"on", b"", b"e").body(3) == b"one"
    assert Sender(b"").body(3) == b""


def test_body_over_the_limit_is_refused_while_it_streams_in() -> None:
    sender = Sender(b"xx", b"xx", b"xx", b"xx")
    with pytest.raises(TooLarge, match=r"at least 4 bytes .* 3\b"):
        sender.body(3)
    assert sender.read == 2


@pytest.mark.parametrize("announced", [b"4", b"9" * 5000])
def test_body_announced_over_the_limit_is_refused_unread(announced: bytes) -> None:
    sender = Sender(b"xxxx", headers=[(b"content-length", announced)])
    with pytest.raises(TooLarge, match=r"larger than the limit of 3\b"):
        sender.body(3)
    assert sender.read == 0


@pytest.mark.parametrize("announced", [b"3", b"0", b"-1", b"\xb2", b"many", b""])
def test_body_is_believed_more_than_its_announcement(announced: bytes) -> None:
    headers = [(b"content-length", announced)]
    assert Sender(b"xxx", headers=headers).body(3) == b"xxx"
    with pytest.raises(TooLarge):
        Sender(b"xxxx", headers=headers).body(3)


def test_client_that_leaves_during_its_upload_is_gone() -> None:
    with pytest.raises(ClientGone) as caught:
        Sender(b"on", stays=False).body(3)
    assert isinstance(caught.value, ConvscopeError)
