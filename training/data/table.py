"""Data sets by name."""

from torchvision import datasets

from service.errors import UnknownName
from service.inference.contract.card import InputCard
from training.data.cifar import cats_and_dogs, read_cifar
from training.data.examples import DataSet, Task
from training.data.idx import read_idx
from training.data.mnist1d import read_mnist1d
from training.data.modelnet import read_modelnet10

GREY = InputCard(name="pixels", kind="image", size=(28, 28), channels=1, colour="GREY", layout="NHWC", dtype="uint8")
COLOUR = InputCard(name="pixels", kind="image", size=(32, 32), channels=3, colour="RGB", layout="NHWC", dtype="uint8")
SIGNAL = InputCard(name="signal", kind="signal", size=(40,), channels=1, layout="NHWC", dtype="float32")
VOXELS = InputCard(name="voxels", kind="volume", size=(30, 30, 30), channels=1, layout="NHWC", dtype="uint8")

DIGITS = tuple("0123456789")
CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm
"""
FURNITURE = (
    "bathtub",
    "bed",
    "chair",
    "desk",
    "dresser",
    "monitor",
    "night_stand",
    "sofa",
    "table",
    "toilet",
)
KRIZHEVSKY = "free for research; cite A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"

DATA_SETS: dict[str, DataSet] = {
    "fashion-mnist": DataSet(
        title="Fashion-MNIST, Zalando SE: 60,000 pictures to learn from, 10,000 to test",
        licence="MIT",
        task=Task(CLOTHES, GREY, mean=(0.2860,), std=(0.3530,)),
        read=lambda folder, training: read_idx(folder, training, datasets.FashionMNIST),
    ),
    "mnist": DataSet(
        title="MNIST, Y. LeCun, C. Cortes and C. Burges: 60,000 pictures to learn from, 10,000 to test",
        licence="CC BY-SA 3.0",
        task=Task(DIGITS, GREY, mean=(0.1307,), std=(0.3081,)),
        read=lambda folder, training: read_idx(folder, training, datasets.MNIST),
    ),
    "cifar10": DataSet(
        title="CIFAR-10, A. Krizhevsky: 50,000 pictures to learn from, 10,000 to test",
        licence=KRIZHEVSKY,
        task=Task(CIFAR10, COLOUR, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
        read=lambda folder, training: read_cifar(folder, training, datasets.CIFAR10),
    ),
    "cifar100": DataSet(
        title="CIFAR-100, A. Krizhevsky: 50,000 pictures to learn from, 10,000 to test",
        licence=KRIZHEVSKY,
        task=Task(tuple(CIFAR100.split()), COLOUR, mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762)),
        read=lambda folder, training: read_cifar(folder, training, datasets.CIFAR100),
    ),
    "cats-dogs": DataSet(
        title="CIFAR-10's cats and dogs, A. Krizhevsky: 10,000 pictures to learn from, 2,000 to test",
        licence=KRIZHEVSKY,
        task=Task(("cat", "dog"), COLOUR, mean=(0.4977, 0.4605, 0.4160), std=(0.2537, 0.2481, 0.2535)),
        read=lambda folder, training: cats_and_dogs(read_cifar(folder, training, datasets.CIFAR10)),
    ),
    "mnist1d": DataSet(
        title="MNIST-1D, S. Greydanus and D. Kobak: 4,000 signals to learn from, 1,000 to test",
        licence="Apache-2.0",
        task=Task(DIGITS, SIGNAL, mean=(0.0,), std=(1.0,)),
        read=read_mnist1d,
    ),
    "modelnet10": DataSet(
        title="ModelNet10, Z. Wu et al., as voxels: 3,991 volumes to learn from, 908 to test",
        licence="for academic use; cite Z. Wu et al., 3D ShapeNets, 2015",
        task=Task(FURNITURE, VOXELS, mean=(0.0718,), std=(0.2582,)),
        read=read_modelnet10,
    ),
}


def data_set(name: str) -> DataSet:
    """Look a data set up by name. Raises UnknownName."""
    if name not in DATA_SETS:
        raise UnknownName("data set", name, DATA_SETS)
    return DATA_SETS[name]
