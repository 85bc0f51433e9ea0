"""A client that costs little, so that on two cores the server is measured and not its client."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

BOUNDARY = "convscope"


class Connection:
    """One HTTP/1.1 connection, kept open: a request, its answer, the next request."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def post(self, path: str, body: bytes, content_type: str) -> bytes:
        """The body of the answer, which must be a 200."""
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(answer.partition("content-length: ")[2].partition("\r\n")[0])
        content = await self._reader.readexactly(length)
        assert answer.startswith("http/1.1 200 "), content
        return content


def multipart(pictures: Sequence[bytes]) -> tuple[bytes, str]:
    """The body of a form with a field `images` for each picture, and its content type."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'.encode()
    body = b"".join(head + picture + b"\r\n" for picture in pictures) + f"--{BOUNDARY}--\r\n".encode()
    return body, f"multipart/form-data; boundary={BOUNDARY}"
