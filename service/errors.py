"""Every way in which convscope refuses, as a tree. It knows no HTTP: `api.problems` ties each to its status.

ConvscopeError
├── InvalidRequest        what was asked makes no sense: empty, malformed, out of range
├── UnknownName           no model, version, layer or label of that name; carries the nearest ones
├── NotAcceptable         none of the accepted forms can be given
├── TooLarge              more bytes, pixels, pictures or numbers than the limit
├── UnsupportedType       a body of a content type that no door takes
├── Unprocessable         well formed, yet nothing can be done with it
│   ├── UnreadablePicture   bytes that are no picture of a known format; carries its index
│   └── MissingCard         a model that does not say how to treat a picture
├── Unavailable           not now; carries the seconds after which to try again
│   ├── QueueFull
│   ├── NotReady
│   └── Stopping
├── UnderWay              the same is being done already
├── DeadlineExceeded      the answer would come too late
├── ClientGone            nobody waits for the answer any more
├── RunFailed             the model itself failed on a valid input
├── ProviderUnavailable   the execution provider that was demanded cannot be used
└── ModelRejected         a model file that cannot be read or does not keep its card's promises
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class ConvscopeError(Exception):
    """Base of all refusals; `str(error)` is a sentence fit for a client."""


class InvalidRequest(ConvscopeError):
    """What was asked makes no sense: empty, malformed, out of range."""


class UnknownName(ConvscopeError):
    """No `kind` (model, version, layer, label) called `name`; `nearest` holds the most alike of `known`."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = list(known)
        self.nearest: Sequence[str] = get_close_matches(name, known, n=5, cutoff=0.3) or known[:5]
        hint = f"; the nearest are: {', '.join(self.nearest)}" if self.nearest else ""
        super().__init__(f"unknown {kind} {name!r}{hint}")


class NotAcceptable(ConvscopeError):
    """None of the accepted forms of answer can be given."""


class TooLarge(ConvscopeError):
    """More bytes, pixels, pictures or numbers than the limit; the message names both."""


class UnsupportedType(ConvscopeError):
    """A body of a content type that this door does not take."""


class Unprocessable(ConvscopeError):
    """Well formed, yet nothing can be done with it."""


class UnreadablePicture(Unprocessable):
    """Bytes that are no picture of a known format; `index` is its place in the request, from 0."""

    def __init__(self, reason: str, index: int = 0) -> None:
        self.reason = reason
        self.index = index
        super().__init__(f"image {index}: {reason}")


class MissingCard(Unprocessable):
    """The model has no card, so nobody knows how to turn a picture into its input."""


class Unavailable(ConvscopeError):
    """Not now; `retry_after` is in seconds."""

    retry_after: int = 1


class QueueFull(Unavailable):
    """The queue has no room for the whole request."""


class NotReady(Unavailable):
    """The model is known, but no version of it answers."""


class Stopping(Unavailable):
    """The service is draining and takes no new work."""


class UnderWay(ConvscopeError):
    """The same is being done already, and cannot be done twice at once."""


class DeadlineExceeded(ConvscopeError):
    """The answer would come later than the request's deadline."""


class ClientGone(ConvscopeError):
    """The client left before its answer."""


class RunFailed(ConvscopeError):
    """The model failed while it ran on a valid input."""


class ProviderUnavailable(ConvscopeError):
    """The execution provider that was demanded cannot be used on this machine."""


class ModelRejected(ConvscopeError):
    """A model file that cannot be read, or does not keep its card's promises."""
