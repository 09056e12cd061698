"""The networks as data: Table 1 of "Going Deeper with Convolutions" and its relatives.

Nothing here computes. The builder (`model.py`) loops over `Architecture.rows`, and nothing else in the package
knows a channel count.

Reference: Szegedy et al., Going Deeper with Convolutions, arXiv:1409.4842, Table 1.
"""

from dataclasses import dataclass, fields, replace

from keras_inception.errors import InputError


@dataclass(frozen=True)
class Conv:
    """A convolution row: `filters` of `kernel_size`, after `reduce` filters of 1x1 where that is not 0."""

    name: str
    kernel_size: int
    strides: int
    filters: int
    reduce: int = 0


@dataclass(frozen=True)
class MaxPool:
    """A max pooling row."""

    name: str
    pool_size: int
    strides: int


@dataclass(frozen=True)
class LRN:
    """A local response normalization row. Table 1 does not print it; the paper's Figure 3 does."""

    name: str


@dataclass(frozen=True)
class Inception:
    """An inception module row; the fields are the columns of Table 1."""

    name: str
    conv1x1: int
    conv3x3_reduce: int
    conv3x3: int
    conv5x5_reduce: int
    conv5x5: int
    pool_proj: int


Row = Conv | MaxPool | LRN | Inception


@dataclass(frozen=True)
class Convolution:
    """What "a convolution" means in one network: bias and ReLU, or batch normalization and ReLU.

    `gamma` and `epsilon` belong to batch normalization and mean nothing without it.
    """

    batch_norm: bool = False
    gamma: bool = True
    epsilon: float = 1e-3


@dataclass(frozen=True)
class AuxiliaryHead:
    """An auxiliary classifier on the output of the row `tap`; `prefix` begins the names of its layers.

    `pool` is "5x5/3" (the paper's average pooling, valid) or "adaptive_4x4" (torchvision's).
    """

    name: str
    tap: str
    prefix: str
    pool: str = "5x5/3"
    conv: int = 128
    dense: int = 1024
    dropout: float = 0.7


@dataclass(frozen=True)
class Architecture:
    """One network: what is built, for which images, and how it wants them preprocessed.

    `padding` is "symmetric" (Caffe's and PyTorch's: strided convolutions pad the same number of pixels on every
    side, pooling does not pad and rounds its output size up) or "same" (TensorFlow's). `conv5x5_kernel_size` is
    the real size of the kernels in the column "5x5".
    """

    name: str
    rows: tuple[Row, ...]
    auxiliary_heads: tuple[AuxiliaryHead, ...]
    convolution: Convolution
    image_size: int
    padding: str = "symmetric"
    conv5x5_kernel_size: int = 5
    dropout: float = 0.4
    preprocessing: str = "inception"

    def owner(self, layer_name):
        """Returns what a layer belongs to: a row's name, `"linear"`, an auxiliary head's name, or None."""
        owners = {row.name: row.name for row in self.rows}
        owners |= {"pool5": "linear", "loss3": "linear", "main": "linear"}
        owners |= {prefix: head.name for head in self.auxiliary_heads for prefix in (head.prefix, head.name)}
        return next((owners[prefix] for prefix in owners if f"{layer_name}_".startswith(f"{prefix}_")), None)


# Table 1: the stem. The two LRN rows stand where the paper's Figure 3 and BVLC's network have them.
STEM = (
    Conv("conv1_7x7_s2", 7, 2, 64),
    MaxPool("pool1_3x3_s2", 3, 2),
    LRN("pool1_norm1"),
    Conv("conv2_3x3", 3, 1, 192, reduce=64),
    LRN("conv2_norm2"),
    MaxPool("pool2_3x3_s2", 3, 2),
)

# Table 1:                      1x1  3x3r   3x3  5x5r   5x5  pool
INCEPTION_3 = (
    Inception("inception_3a",    64,   96,  128,   16,   32,   32),
    Inception("inception_3b",   128,  128,  192,   32,   96,   64),
)  # fmt: skip
INCEPTION_4 = (
    Inception("inception_4a",   192,   96,  208,   16,   48,   64),
    Inception("inception_4b",   160,  112,  224,   24,   64,   64),
    Inception("inception_4c",   128,  128,  256,   24,   64,   64),
    Inception("inception_4d",   112,  144,  288,   32,   64,   64),
    Inception("inception_4e",   256,  160,  320,   32,  128,  128),
)  # fmt: skip
INCEPTION_5 = (
    Inception("inception_5a",   256,  160,  320,   32,  128,  128),
    Inception("inception_5b",   384,  192,  384,   48,  128,  128),
)  # fmt: skip
POOL3 = MaxPool("pool3_3x3_s2", 3, 2)
POOL4 = MaxPool("pool4_3x3_s2", 3, 2)

STEM_WITHOUT_LRN = tuple(row for row in STEM if not isinstance(row, LRN))

# Two auxiliary classifiers, on 4a and 4d (the paper, section 5), and the weights of the three losses in training.
AUXILIARY_HEADS = (
    AuxiliaryHead("aux1", "inception_4a", "loss1"),
    AuxiliaryHead("aux2", "inception_4d", "loss2"),
)
LOSS_WEIGHTS = (1.0, 0.3, 0.3)

GOOGLENET = Architecture(
    name="googlenet",
    rows=(*STEM, *INCEPTION_3, POOL3, *INCEPTION_4, POOL4, *INCEPTION_5),
    auxiliary_heads=AUXILIARY_HEADS,
    convolution=Convolution(),
    image_size=224,
)

# The paper's network with batch normalization in the place of LRN and of the biases (ours).
GOOGLENET_BN = replace(
    GOOGLENET,
    name="googlenet_bn",
    rows=(*STEM_WITHOUT_LRN, *INCEPTION_3, POOL3, *INCEPTION_4, POOL4, *INCEPTION_5),
    convolution=Convolution(batch_norm=True),
)

# For 32x32 images (ours): a 3x3/1 stem that keeps the size, so that 4a is 16x16 and the heads keep the paper's shape.
GOOGLENET_SMALL = replace(
    GOOGLENET_BN,
    name="googlenet_small",
    rows=(
        Conv("conv1_3x3_s1", 3, 1, 64),
        Conv("conv2_3x3", 3, 1, 192, reduce=64),
        *INCEPTION_3, POOL3, *INCEPTION_4, POOL4, *INCEPTION_5,
    ),
    image_size=32,
)  # fmt: skip

# TF-slim's graph (`inception_v1.py`): no LRN, batch norm without gamma, 3x3 for 5x5, 2x2/2 before 5a, no heads.
INCEPTION_V1_SLIM = Architecture(
    name="inception_v1_slim",
    rows=(*STEM_WITHOUT_LRN, *INCEPTION_3, POOL3, *INCEPTION_4, MaxPool("pool4_2x2_s2", 2, 2), *INCEPTION_5),
    auxiliary_heads=(),
    convolution=Convolution(batch_norm=True, gamma=False),
    image_size=224,
    padding="same",
    conv5x5_kernel_size=3,
    dropout=0.2,
)

# torchvision's graph (`googlenet.py`): slim's with gamma, PyTorch's padding and adaptive pooling in the heads.
INCEPTION_V1_TORCHVISION = replace(
    INCEPTION_V1_SLIM,
    name="inception_v1_torchvision",
    auxiliary_heads=tuple(replace(head, pool="adaptive_4x4") for head in AUXILIARY_HEADS),
    convolution=Convolution(batch_norm=True),
    padding="symmetric",
)

ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (GOOGLENET, GOOGLENET_BN, GOOGLENET_SMALL, INCEPTION_V1_SLIM, INCEPTION_V1_TORCHVISION)
}


def scaled(architecture: Architecture, width: float) -> Architecture:
    """Returns an architecture whose trunk is `width` times as wide, called such as "googlenet_bn@0.5" (ours).

    Numbers of filters are rounded to multiples of 8 (MobileNet's habit), and are 8 at least. The heads keep theirs.

    Raises:
        ValueError: The width is not from 0.05 to 10.
    """
    if not 0.05 <= width <= 10:
        raise InputError(f"The width of a trunk must be from 0.05 to 10, 1 for the paper's. Received: width={width}")
    if width == 1:
        return architecture

    def scale(row):
        channels = {
            field.name: max(8, 8 * round(getattr(row, field.name) * width / 8))
            for field in fields(row)
            if field.name not in NOT_CHANNELS and getattr(row, field.name)
        }
        return replace(row, **channels)

    return replace(architecture, name=f"{architecture.name}@{width:g}", rows=tuple(map(scale, architecture.rows)))


# What in a row is no number of channels.
NOT_CHANNELS = ("name", "kernel_size", "pool_size", "strides")


def get(name: str) -> Architecture:
    """Returns the architecture called `name`, or of "NAME@WIDTH" the `scaled` one.

    Raises:
        ValueError: There is none of that name.
    """
    base, at, width = str(name).partition("@")
    if at and base in ARCHITECTURES:
        try:
            return scaled(ARCHITECTURES[base], float(width))
        except ValueError as error:
            raise InputError(
                '`architecture` with a width must be such as "googlenet@0.5", a number from 0.05 to 10. '
                f"Received: architecture={name!r}"
            ) from error
    if name not in ARCHITECTURES:
        raise InputError(f"`architecture` must be one of {', '.join(ARCHITECTURES)}. Received: architecture={name!r}")
    return ARCHITECTURES[name]


def of(model) -> Architecture:
    """Returns the architecture of a built model.

    Raises:
        ValueError: The model does not say which it has.
    """
    name = getattr(model, "architecture", None)
    if name is None:
        raise InputError(
            "The model must know its architecture, as what `GoogLeNet` returns does. "
            f"Received: model {model.name!r} with architecture={name!r}"
        )
    return get(name)
