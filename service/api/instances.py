"""A request's JSON body -> instances: nested numbers, for a model that takes no pictures."""

from typing import Any

from service.api.bodies import media_type
from service.api.strict_json import read_object
from service.errors import InvalidRequest, TooLarge, Unprocessable, UnsupportedType

FORM = '{"instances": [...]}'
_FEWER = "send fewer instances at a time, or tensors as binary data through /v2"


def instances_of(content_type: str | None, body: bytes, kind: str, *, max_instances: int) -> list[Any]:
    """The instances in a request, in order; none is looked into. `kind` is what the model takes, a signal for one.

    NaN and infinity pass, so that whoever looks can say where they are. Raises InvalidRequest for a body that is empty
    or malformed, TooLarge for more than `max_instances` or more values than anybody needs, Unprocessable for pictures,
    UnsupportedType for any other content type or none.
    """
    if not body:
        raise InvalidRequest(f"the body is empty; send a {kind} as application/json ({FORM})")
    given = media_type(content_type)
    if given.startswith("image/") or given == "multipart/form-data":
        raise _no_picture(kind)
    if given != "application/json":
        found = f"content type {given[:100]!r} is not accepted" if given else "the request has no content type"
        raise UnsupportedType(f"{found}; accepted is application/json ({FORM})")
    document = read_object(body, form=FORM, instead=_FEWER, constant=float)
    if set(document) == {"images"}:
        raise _no_picture(kind)
    instances = document.get("instances") if set(document) == {"instances"} else None
    if not isinstance(instances, list) or not instances:
        raise InvalidRequest(f"the JSON body is not of the form {FORM} with at least one instance")
    if len(instances) > max_instances:
        raise TooLarge(f"{len(instances)} instances in one request are more than the limit of {max_instances}")
    return instances


def _no_picture(kind: str) -> Unprocessable:
    return Unprocessable(f"the model takes a {kind}, not a picture; send its numbers as application/json ({FORM})")
