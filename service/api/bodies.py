"""A request's body -> encoded pictures: the body itself, a form's parts or base64 in JSON; in memory, within limits."""

import asyncio
import binascii
import json

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from service.api.inflation import inflation
from service.errors import ClientGone, InvalidRequest, TooLarge, Unprocessable, UnsupportedType

_FIELD = "images"
_ACCEPTED = 'image/*, multipart/form-data (field "images") and application/json ({"images": [base64, ...]})'

# As Python objects, a body of empty lists takes twenty times its bytes. No request has this many values.
_MAX_JSON_VALUES = 100_000


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, inflated if it came compressed, of at most `limit` bytes before and after.

    Raises TooLarge at once when Content-Length says so, else as soon as more has come in or out; ClientGone when the
    client leaves before it has sent everything; UnsupportedType for a content encoding but gzip and deflate.
    """
    inflate = inflation(request.headers.get("content-encoding"))
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:  # 20 digits are enough to exceed any limit
        raise TooLarge(f"a body of {announced[:20]} bytes is larger than the limit of {limit}")
    chunks: list[bytes] = []
    received = 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit:
                raise TooLarge(f"a body of at least {received} bytes is larger than the limit of {limit}")
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise ClientGone("the client left while it was sending its request") from error
    body = b"".join(chunks)
    return await asyncio.to_thread(inflate, body, limit) if inflate else body


def pictures_of(content_type: str | None, body: bytes, *, max_pictures: int) -> list[bytes]:
    """The encoded pictures in a request, in order; none is looked into, so one of zero bytes is passed on.

    `image/*`: the body is the picture. `multipart/form-data`: the field `images`, once for each. `application/json`:
    `{"images": [base64, ...]}`. Raises InvalidRequest for a body that is empty or malformed, TooLarge for more than
    `max_pictures`, Unprocessable for instances, UnsupportedType for any other content type or none.
    """
    if not body:
        raise InvalidRequest(f"the body is empty; send a picture as {_ACCEPTED}")
    kind, options = _parsed(content_type)
    if kind.startswith("image/"):
        return [body]
    if kind == "multipart/form-data":
        return _from_form(options.get(b"boundary", b""), body, max_pictures)
    if kind == "application/json":
        return _from_json(body, max_pictures)
    given = f"content type {kind[:100]!r} is not accepted" if kind else "the request has no content type"
    raise UnsupportedType(f"{given}; accepted are {_ACCEPTED}")


def media_type(content_type: str | None) -> str:
    """Of a content type, in lower case and without its parameters; empty where there is none."""
    return _parsed(content_type)[0]


def _parsed(header: str | None) -> tuple[str, dict[bytes, bytes]]:
    """The media type in lower case, and its parameters."""
    try:
        kind, options = parse_options_header(header)
    except UnicodeEncodeError:  # a header has no such characters, but this is a function of any text
        return header or "", {}
    return kind.decode("latin-1").strip(), options


def _from_form(boundary: bytes, body: bytes, max_pictures: int) -> list[bytes]:
    if not boundary:
        raise InvalidRequest("the content type multipart/form-data names no boundary")
    form = _Form(b"\r\n--" + boundary, body, max_pictures)
    try:
        MultipartParser(
            boundary,
            {
                "on_part_begin": form.begin,
                "on_header_field": form.header_field,
                "on_header_value": form.header_value,
                "on_headers_finished": form.headers_finished,
                "on_part_data": form.data,
                "on_end": form.end,
            },
        ).write(body)
    except FormParserError as error:
        raise InvalidRequest(f"malformed multipart body: {error}") from error
    if not form.complete:  # the parser's own finalize() does not look
        raise InvalidRequest("malformed multipart body: it ends before its closing boundary")
    if not form.parts:
        raise InvalidRequest(f'the form has no field "{_FIELD}"')
    return [b"".join(part) for part in form.parts]


class _Form:
    """Gathers the parts of a form as the parser finds them; refuses at the first that is one too many."""

    def __init__(self, delimiter: bytes, body: bytes, max_pictures: int) -> None:
        self._delimiter = delimiter
        self._body = body
        self._max_pictures = max_pictures
        self._name = self._disposition = b""
        self.parts: list[list[bytes]] = []
        self.complete = False

    def begin(self) -> None:
        if len(self.parts) == self._max_pictures:
            # Every part has one delimiter behind it, so this is how many there are, without parsing them.
            count = max(self._body.count(self._delimiter), self._max_pictures + 1)
            raise _too_many(count, self._max_pictures)
        self.parts.append([])
        self._name = self._disposition = b""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._name = data[start:end].lower()

    def header_value(self, data: bytes, start: int, end: int) -> None:
        if self._name == b"content-disposition":
            self._disposition = data[start:end]

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name != _FIELD:
            part = f"part {len(self.parts) - 1} of the form"
            raise InvalidRequest(f'{part} is the field "{name[:100]}"; the field expected is "{_FIELD}"')

    def data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].append(data[start:end])

    def end(self) -> None:
        self.complete = True


def _from_json(body: bytes, max_pictures: int) -> list[bytes]:
    if (values := body.count(b",") + 1) > max(_MAX_JSON_VALUES, max_pictures):
        raise TooLarge(f"a JSON body of about {values} values; the limit is {max_pictures} pictures a request")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:  # ValueError: also bytes that are no text
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidRequest(f"malformed JSON: {problem}") from error
    if isinstance(document, dict) and set(document) == {"instances"}:
        raise Unprocessable('the model takes pictures, not numbers; send {"images": [base64, ...]}')
    images = document.get(_FIELD) if isinstance(document, dict) and set(document) == {_FIELD} else None
    if not isinstance(images, list) or not images:
        raise InvalidRequest('the JSON body is not of the form {"images": [base64, ...]} with at least one picture')
    if len(images) > max_pictures:
        raise _too_many(len(images), max_pictures)
    return [_from_base64(text, index) for index, text in enumerate(images)]


def _from_base64(text: object, index: int) -> bytes:
    if not isinstance(text, str):
        raise InvalidRequest(f"image {index}: not a string of base64 but {type(text).__name__}")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        hint = "; leave out the prefix up to the comma" if text.startswith("data:") else ""
        raise InvalidRequest(f"image {index}: not valid base64: {error}{hint}") from error


def _too_many(count: int, limit: int) -> TooLarge:
    return TooLarge(f"{count} pictures in one request are more than the limit of {limit}")
