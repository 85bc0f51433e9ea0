"""The report: every number in it comes from the figures, and so does every sentence that depends on how it went."""

from collections.abc import Iterator, Sequence
from statistics import mean

from training.compare.figures import NETWORKS, VARIANTS, Figures
from training.compare.outcome import (
    DIAGONAL,
    STATED,
    ahead,
    directions,
    done,
    floor,
    hardships,
    lead,
    lost,
    price,
    worth,
)
from training.compare.phrases import (
    SAID,
    counted,
    difference,
    extents,
    judged,
    lesson,
    normalising,
    paragraph,
    picture,
    spread,
    table,
)
from training.compare.plots import PLOTS
from training.derive.walk import BYTES, size

REPORT, PICTURES, JSON = "dense-against-convolutional.md", "compare", "figures.json"
SHIFTS, PATCHES = (0, 1, 2, 4, 6, 8), (0, 4, 8, 12, 16, 20)
SHIFTED, COVERED, GROWN = (f"{PICTURES}/{name}" for name in PLOTS)


def report(figures: Figures) -> str:
    """The whole report as Markdown."""
    parts = (opening, gain, fairness, variants, costs, accuracy, shifts, patches, exactness, learning, growth, closing)
    return "\n\n".join(block for part in parts for block in part(figures)) + "\n"


def opening(figures: Figures) -> Iterator[str]:
    """Say what this is."""
    yield "# Dense against convolutional, measured"
    yield paragraph(
        f"""Two networks learn the same pictures by the same recipe. One is dense: every neuron sees every pixel, each
        with a weight of its own. The other is convolutional: a neuron sees a small window, and all places share its
        weights. What does the second gain, what of that is exact, and what did it have to learn? How a convolution
        comes of a dense layer is [another chapter](from-dense-to-convolution.md). All numbers here are from one
        command, which also wrote this page and, with every single measurement, [{JSON}]({PICTURES}/{JSON}):"""
    )
    yield f"```sh\n{figures.command}\n```"


def gain(figures: Figures) -> Iterator[str]:
    """Answer what the second gains, and for what price."""
    yield "## What the second gains"
    yield paragraph(
        f"""A convolution's weights are the same at all places: what it finds at one it finds at all others. Here is by
        how many points of accuracy the convolutional network is ahead of the dense one with as many parameters, *not
        taught* and *taught*, which is by {lesson(figures).rstrip(",")}:"""
    )
    yield table(
        ["test pictures", *SAID.values()],
        [[name, *(f"{each:+.1f}" for each in row)] for name, row in ahead(figures).items()],
    )
    yield paragraph(
        f"""{lead(figures)} Against the dense network, for a shared weight is used at every place, it takes
        {times([cost.multiply_adds for cost in figures.costs])} the multiply-adds and
        {times([mean(each.seconds for each in figures.trainings if each.network == name) for name in NETWORKS])} the
        seconds for one training."""
    )


def times(pair: Sequence[float]) -> str:
    """How many times the first the second is."""
    return f"{pair[1] / pair[0]:.2g} times"


def fairness(figures: Figures) -> Iterator[str]:
    """Say what was the same for both, and what was not."""
    width = figures.contenders["dense"].width
    yield "## What is fair, and what is not"
    yield paragraph(
        f"""{figures.title}. Of the pictures to learn from, {figures.chosen_by:,} were set aside to choose the epoch
        that is kept; {figures.learnt_from:,} were learnt. For both: the same pictures,
        {counted(figures.epochs, "epoch")}, batches of {figures.batch}, the same optimiser, schedule (peak
        {figures.learning_rate:g}), loss and augmentation. The dense network has two hidden layers, of {width:,} and
        {width // 2:,} neurons: the width whose parameters come nearest to those of the convolutional one. At equal
        parameters the multiply-adds are not equal. And the recipe was made for the convolutional network; nobody has
        looked for the dense one's best.
        {normalising(figures)}"""
    )


def variants(figures: Figures) -> Iterator[str]:
    """Say what is taught, and what not."""
    mirrored = "; both variants are mirrored, left to right" if figures.flip else ""
    yield paragraph(
        f"""Each was trained in two variants: *taught*, its training pictures shifted at random by up to
        {counted(figures.shift, "pixel")}, and with probability {figures.erase:g} a patch of up to
        {figures.erase_share:.0%} of the picture blacked out; and *not taught*, with neither{mirrored}. What only
        the taught can bear was learnt; it was not built in."""
    )


def costs(figures: Figures) -> Iterator[str]:
    """Say what each costs, and how often it was tried."""
    seeds = len({each.seed for each in figures.trainings})
    groups = [[each for each in figures.trainings if each.network == network] for network in NETWORKS]
    seconds = [
        [
            f"seconds for one training, {SAID[variant]}",
            *(spread([each.seconds for each in figures.of(network, variant)], 0) for network in NETWORKS),
        ]
        for variant in VARIANTS
    ]
    yield table(
        ["", *NETWORKS],
        [
            ["parameters", *(f"{cost.parameters:,}" for cost in figures.costs)],
            [
                "multiply-adds of convolutions and dense layers, per picture",
                *(f"{cost.multiply_adds:,}" for cost in figures.costs),
            ],
            *seconds,
            [
                "milliseconds per picture, many at once",
                *(spread([each.milliseconds for each in group], 3) for group in groups),
            ],
        ],
    )
    ran = "one run each, with one seed: it does not show how much chance there is" if seeds == 1 else f"{seeds} seeds"
    yield paragraph(
        f"""Every variant: {ran}. In brackets, in this table and the next: the least and the greatest of the runs that
        the number is the mean of. The times are of {counted(figures.threads, "thread")} on a machine that others may
        have used as well: take them as an order of magnitude. Trained with {figures.versions}."""
    )


def accuracy(figures: Figures) -> Iterator[str]:
    """How good they are on test pictures as they are."""
    yield "## Accuracy"
    yield paragraph(
        f"""In percent, on all {figures.tested_on:,} test pictures, by which nothing was chosen; guessing one of
        {figures.classes} classes is right on {1 / figures.classes:.0%}:"""
    )
    rows = [
        [SAID[variant], *(spread([100 * each.accuracy for each in figures.of(name, variant)], 2) for name in NETWORKS)]
        for variant in VARIANTS
    ]
    yield table(["", *NETWORKS], rows)
    yield paragraph(price(figures))


def shifts(figures: Figures) -> Iterator[str]:
    """What a shift costs."""
    fewer = figures.judged_on < figures.tested_on
    row_0 = " Row 0 is of these pictures alone, and so differs from the accuracy above." if fewer else ""
    yield "## The picture shifted"
    yield paragraph(
        f"""{judged(figures)}, shifted in eight directions; diagonally, by as many pixels along both axes. What leaves
        the picture is lost, and black comes in, as {figures.black_edge:.0%} of the pixels at the edge are already.
        Accuracy in percent, the mean of all directions and seeds; the bands go from the worst direction to the
        best, the spread between seeds is not drawn.{row_0}"""
    )
    yield picture("Test accuracy against the shift", SHIFTED)
    yield hardships(figures, "shifted", "pixels", SHIFTS)
    yield paragraph(f"{lost(figures, 'shifted')} {floor(figures, 'shifted')}")
    yield paragraph(
        f"""Direction by direction, in the middle of the way, the mean of all seeds; diagonally the picture goes
        {DIAGONAL:.2f} times as far:"""
    )
    yield directions(figures, figures.distances[len(figures.distances) // 2])


def patches(figures: Figures) -> Iterator[str]:
    """What a patch costs."""
    draws = max(map(len, figures.trainings[0].covered))
    yield "## A patch covered"
    yield paragraph(
        f"""The same pictures with a black square at a random place, the same places for every network. Accuracy in
        percent, the mean of {counted(draws, "draw")} of the places and all seeds; the bands go from the worst draw
        to the best, the spread between seeds is not drawn."""
    )
    yield picture("Test accuracy against the side of the patch", COVERED)
    yield hardships(figures, "covered", "side", PATCHES)
    yield paragraph(f"{lost(figures, 'covered')} {floor(figures, 'covered')}")


def exactness(figures: Figures) -> Iterator[str]:
    """What is exact."""
    pixels = [each.pixels for each in figures.layers[0].compared]
    largest = max(each.largest for layer in figures.layers for each in layer.compared if each.cells.is_integer())
    yield "## What is exact"
    yield paragraph(
        f"""Shift the picture by a multiple of a layer's step, and the layer's maps are shifted along: a convolution is
        *equivariant*, whatever its weights. The step is how many pixels apart two neighbours in a map are; pooling by
        two doubles it. This holds off the border: a neuron nearer to it than the table says sees padding. Here are
        the maps of the convolutional network, the taught one of the first seed, in float64, on a sheet of
        {figures.sheet[0]}×{figures.sheet[1]} pixels, laid out of test pictures, for one picture is smaller than the
        receptive field of a deep layer; it was shifted down and right, and neurons that see what came in were left
        out. Where the shift is a multiple of the step: the largest difference, as a share of the largest value.
        Where it is not, *in italics*: the mean difference, as a share of the mean value, from whichever whole shift of
        the maps comes nearest."""
    )
    rows = [
        [
            f"`{layer.name}`",
            str(layer.step),
            f"{layer.field}×{layer.field}",
            str(layer.border),
            *map(difference, layer.compared),
        ]
        for layer in figures.layers
    ]
    heads = ["layer", "step", "receptive field", "border, pixels"]
    yield table([*heads, *(f"shift {each} pixel{'s' * (each > 1)}" for each in pixels)], rows)
    changes = ", ".join(f"{each.mean:.0%} for {counted(each.pixels, 'pixel')}" for each in figures.changes)
    found = (
        f"they differ by {largest:.0e} at most, which is float64's rounding"
        if largest
        else "they are equal, bit by bit"
    )
    yield paragraph(
        f"""At multiples of the step {found}. The dense network has nothing of the kind: its neurons have no places
        along which anything could be shifted. What its first layer yields changes, as a share of its mean size, by
        {changes}."""
    )


def learning(figures: Figures) -> Iterator[str]:
    """What is learnt."""
    head = "a dense layer weighs the last maps, each place with weights of its own"
    if not per_place(figures):
        head = "each of the last maps is pooled into one number, and so is what border and shifts change"
    yield "## What is learnt"
    yield paragraph(
        f"""That the *class* stays the same follows from none of this. Pooling loses where in its window a value stood,
        and then {head}. The table says what {lesson(figures)} was worth: how many points more were kept than
        without, once what it changed for pictures as they are is taken off. The shifts learnt from went up to
        {counted(figures.shift, "pixel")}, those of the test go up to {figures.distances[-1]}."""
    )
    yield table(
        ["test pictures", *NETWORKS],
        [
            [done(what, at), *(worth(figures, what, network, at) for network in NETWORKS)]
            for what, places in STATED.items()
            for at in places
        ],
    )


def growth(figures: Figures) -> Iterator[str]:
    """What larger pictures would cost."""
    own, photo = figures.sizes[0], figures.sizes[-1]
    alone = [each.convolutional.parameters - each.convolutional.dense for each in figures.sizes]
    yield "## Larger pictures"
    yield paragraph(
        """Counted on the very networks, built for each size without memory for their weights. *100 neurons* is a
        single dense layer, its biases left out; *the convolutions* are all of the convolutional network but dense
        layers."""
    )
    yield picture("Parameters against the size of the picture", GROWN)
    rows = [
        [
            extents(each),
            f"{each.hundred:,}",
            size(BYTES * each.hundred),
            f"{each.dense.parameters:,}",
            f"{each.convolutional.parameters:,}",
            f"{bare:,}",
        ]
        for each, bare in zip(figures.sizes, alone, strict=True)
    ]
    yield table(["picture", "100 neurons", "in float32", "dense", "convolutional", "the convolutions"], rows)
    text = f"""A colour photo of {photo.height * photo.width / 1e6:g} megapixels takes {photo.hundred / 1e9:g} billion
        weights for a hundred dense neurons: {size(BYTES * photo.hundred)}. The convolutions take {alone[-1]:,}, as many
        as for every other size in colour"""
    text += (
        "." if own.channels == photo.channels else f"; {alone[-1] - alone[0]:,} of them are for the two more channels."
    )
    if per_place(figures):
        text += f""" The convolutional network as a whole does grow, for it ends in a dense layer on the last maps:
            {photo.convolutional.dense:,} of the parameters for the photo are that layer's. Averaging each map before it
            would end that."""
    yield paragraph(text)


def per_place(figures: Figures) -> bool:
    """Whether the convolutional network ends in a dense layer with weights for each place of the last maps."""
    return figures.sizes[-1].convolutional.dense > figures.sizes[0].convolutional.dense


def closing(figures: Figures) -> Iterator[str]:
    """Say what this does not show."""
    error = 100 * (0.9 * 0.1 / figures.judged_on) ** 0.5
    yield "## What this does not show"
    yield paragraph(
        f"""One data set of small pictures, one network of each kind, one size of each. Training pictures that are
        shifted are filled by mirroring at the edge, test pictures with black. And {figures.judged_on:,} test
        pictures, the same for all seeds, tell a share of 90 % only to ±{error:.1f} points (one standard error),
        however many the seeds."""
    )
