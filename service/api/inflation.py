"""Compressed bodies: gzip and deflate (RFC 9110, section 8.4.1), inflated no further than the limit."""

import zlib
from collections.abc import Callable, Iterator

from service.errors import InvalidRequest, TooLarge, UnsupportedType

PIECE = 1024 * 1024
GZIP = zlib.MAX_WBITS | 16

Inflate = Callable[[bytes, int], bytes]


def inflation(encoding: str | None) -> Inflate | None:
    """How to inflate a body of this Content-Encoding, given it and a limit in bytes; None where it comes as it is.

    Raises UnsupportedType for any other encoding. What is returned raises InvalidRequest for a body that is not what it
    says, TooLarge as soon as more than the limit has come out.
    """
    name = (encoding or "identity").strip().lower()
    if name not in _INFLATE:
        raise UnsupportedType(f"content encoding {name[:100]!r} is not accepted; accepted are gzip and deflate")
    return _INFLATE[name]


def _gunzip(body: bytes, limit: int) -> bytes:
    return _inflated(body, limit, GZIP)


def _inflate(body: bytes, limit: int) -> bytes:
    """In a zlib wrapper, as the RFC wants it, or without, as some clients send it."""
    wrapped = len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0
    return _inflated(body, limit, zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)


def _inflated(body: bytes, limit: int, window: int) -> bytes:
    pieces, size = [], 0
    try:
        for piece in _pieces(body, zlib.decompressobj(window)):
            size += len(piece)
            if size > limit:
                raise TooLarge(f"a body of at least {size} bytes, once inflated, is larger than the limit of {limit}")
            pieces.append(piece)
    except zlib.error as error:
        raise InvalidRequest(f"the body is not what its content encoding says: {error}") from error
    return b"".join(pieces)


def _pieces(body: bytes, stream: "zlib._Decompress") -> Iterator[bytes]:
    """What comes out, at most `PIECE` bytes at a time, so that a bomb costs no more than the limit.

    Of gzip, one member: millions of empty ones would cost much more than their bytes.
    """
    for start in range(0, len(body), PIECE):
        data = body[start : start + PIECE]
        while data and not stream.eof:
            yield stream.decompress(data, PIECE)
            data = stream.unconsumed_tail
        if stream.eof and (stream.unused_data or start + PIECE < len(body)):
            raise InvalidRequest("something follows the compressed body")
    while not stream.eof:
        if not (piece := stream.decompress(b"", PIECE)):
            raise InvalidRequest("the compressed body ends too early")
        yield piece


_INFLATE: dict[str, Inflate | None] = {"identity": None, "gzip": _gunzip, "x-gzip": _gunzip, "deflate": _inflate}
