"""The derivation as a text to read: each step with its weights and its proof."""

from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_UP, Decimal
from textwrap import wrap

from training.derive.layer import PHOTO, Layer, neurons
from training.derive.proof import Step

BYTES = 4  # of a weight in float32
WIDE, LEFT = 112, 86
GREY = Layer(PHOTO.height, PHOTO.width, 1, PHOTO.hidden, PHOTO.kernel)


def walk(layer: Layer, derivation: Sequence[Step], others: Sequence[Step]) -> Iterator[str]:
    """Line by line: what the dense layer costs, how the convolution comes of it, what else a convolution does."""
    yield f"From a dense layer to a convolution: {layer}"
    yield from (f"  {line}" for line in wrap(opening(layer), WIDE))
    yield f"\n{'step':{LEFT}} {'weights':>20}  off by"
    if layer.neurons > layer.hidden:
        yield f"{f'- asked for: {neurons(layer.hidden)}':{LEFT}} {layer.asked:>20,}"
    for number, step in enumerate(derivation, 1):
        yield row(f"{number} {step.claim}", step)
    yield f"\n  {layer.local:,} of the {layer.asked:,} weights asked for: {fewer(layer.local, layer.asked)} fewer."
    yield from (f"  {line}" for line in wrap(closing(layer), WIDE))
    yield f"\n{'what else holds':{LEFT}} {'weights':>20}  off by"
    for step in others:
        yield row(f"- {step.claim}", step)
    yield ""
    yield from (f"  {line}" for line in wrap(photo(), WIDE))


def opening(layer: Layer) -> str:
    """Say what is counted, and on what it is proved."""
    text = (
        f"Dense: {layer.numbers:,} numbers x {neurons(layer.hidden)} = {layer.asked:,} weights, "
        f"{size(BYTES * layer.asked)} in float32. A {layer.kernel}x{layer.kernel} window has {layer.rows:,} x "
        f"{layer.columns:,} = {layer.places:,} places in the picture; with {neurons(layer.maps)} "
        f"at each that is {layer.neurons:,}. "
    )
    if layer.neurons > layer.hidden:
        text += (
            f"A convolution has {layer.neurons:,} neurons, not {layer.hidden:,}: steps 1 and 2 count a dense layer of "
            f"as many, {layer.dense:,} weights. "
        )
    if layer.provable() != layer:
        text += f"That is too large to lay out in full: what is proved here is a small one, {layer.provable()}. "
    return text + "The proofs use whole numbers in float64, whose sums are exact: off by 0 means equal."


def closing(layer: Layer) -> str:
    """Say what so many channels would cost as there were neurons."""
    weights = layer.hidden * layer.channels * layer.kernel**2
    return f"A channel for each hidden neuron, {layer.hidden:,} at every place, would take {weights:,}."


def photo() -> str:
    """Put the figure right that many texts give for a photo."""
    return (
        f"A photo of {GREY.numbers:,} pixels and {PHOTO.hidden} neurons: {GREY.asked:,} weights for one channel, "
        f"{PHOTO.asked:,} for three, {size(BYTES * PHOTO.asked)}. The {GREY.asked // 10:,} of some texts is too small "
        "by a factor of ten even for one channel (thirty for three)."
    )


def row(text: str, step: Step) -> str:
    """A line of the table, with what is wrong made plain."""
    weights = "" if step.weights is None else f"{step.weights:,}"
    return f"{text:{LEFT}} {weights:>20}  {step.difference:g}{'' if step.holds else '  NOT EQUAL'}"


def fewer(few: int, many: int) -> str:
    """How much less `few` is than `many`, in percent: with as many digits as it takes to stay under 100."""
    share = 100 - Decimal(100 * few) / many
    digits = 2
    while (rounded := share.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)) == 100:
        digits += 1
    return f"{rounded} %"


def size(count: int) -> str:
    """Bytes in the largest unit of which there is at least one."""
    units = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "kB": 10**3, "bytes": 1}
    unit = next(unit for unit, factor in units.items() if count >= factor)
    return f"{Decimal(count) / units[unit]:.4g} {unit}"
