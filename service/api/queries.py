"""What a query may hold: the parameters that the door has, each once unless it takes several."""

from collections.abc import Iterator
from typing import get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from service.errors import InvalidRequest, UnknownName


async def strict_query(request: Request) -> None:
    """A dependency that refuses what would be passed over in silence.

    Raises InvalidRequest for a parameter that the door does not have, and for one given again that it takes once.
    """
    taken = _taken(request.scope["route"])
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in taken:
            raise InvalidRequest(str(UnknownName("parameter", name[:200], taken)))
        if not taken[name] and given.count(name) > 1:
            raise InvalidRequest(f"parameter {name!r} is given {given.count(name)} times; it can be only one")


def _taken(route: APIRoute) -> dict[str, bool]:
    """The door's parameters, and whether each may be given several times."""
    return dict(_declared(route.dependant))


def _declared(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    for field in dependant.query_params:
        yield field.alias, get_origin(field.field_info.annotation) is list
    for needed in dependant.dependencies:
        yield from _declared(needed)
