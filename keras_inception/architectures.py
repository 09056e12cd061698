"""The networks as data: Table 1 of "Going Deeper with Convolutions" and its relatives.

Nothing here computes. The builder (`network/googlenet.py`) loops over `Architecture.rows`, and nothing else in the
package knows a channel count or a number of heads.

Reference: Szegedy et al., Going Deeper with Convolutions, arXiv:1409.4842, Table 1.
"""

import contextlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import permutations
from typing import Any, get_args

from keras_inception.errors import InputError, did_you_mean, shown
from keras_inception.rules import ABOVE_0, FROM_0, SHARE, SWITCH, TEXT, argument, between, check, is_whole, one_of, rule

# How an auxiliary head pools, how a network pads, what `preprocess_input` knows, and how an image becomes a square.
POOLS = ("5x5/3", "adaptive_4x4")
PADDINGS = ("symmetric", "same")
PREPROCESSINGS = ("inception", "caffe", "pixels")
RESIZES = ("crop", "pad", "stretch")

# The rules of the fields below; `Architecture` checks those of all its parts.
NAME = rule(
    "a name of letters, digits, dots, hyphens and underscores that begins with a letter or a digit",
    lambda value: isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value)),
)
SIZE = rule("a whole number from 1 to 65536", partial(is_whole, least=1, most=65536))
SIZE_OR_0 = rule("a whole number from 0 to 65536", partial(is_whole, least=0, most=65536))


def _of_kind(kind: Any) -> Any:
    return lambda value: isinstance(value, kind)


def _tuple_of(kind: Any, least: int) -> Any:
    return lambda value: isinstance(value, tuple) and len(value) >= least and all(isinstance(v, kind) for v in value)


TAPS = rule("names of rows, each once", lambda value: _tuple_of(str, 0)(value) and len(set(value)) == len(value))


@dataclass(frozen=True)
class Conv:
    """A convolution row: `filters` of `kernel_size`, after `reduce` filters of 1x1 where that is not 0."""

    name: str = field(metadata=NAME)
    kernel_size: int = field(metadata=SIZE)
    strides: int = field(metadata=SIZE)
    filters: int = field(metadata=SIZE)
    reduce: int = field(default=0, metadata=SIZE_OR_0)


@dataclass(frozen=True)
class MaxPool:
    """A max pooling row."""

    name: str = field(metadata=NAME)
    pool_size: int = field(metadata=SIZE)
    strides: int = field(metadata=SIZE)


@dataclass(frozen=True)
class LRN:
    """A local response normalization row. Table 1 does not print it; the paper's Figure 3 does."""

    name: str = field(metadata=NAME)


@dataclass(frozen=True)
class Inception:
    """An inception module row; the fields are the columns of Table 1."""

    name: str = field(metadata=NAME)
    conv1x1: int = field(metadata=SIZE)
    conv3x3_reduce: int = field(metadata=SIZE)
    conv3x3: int = field(metadata=SIZE)
    conv5x5_reduce: int = field(metadata=SIZE)
    conv5x5: int = field(metadata=SIZE)
    pool_proj: int = field(metadata=SIZE)


Row = Conv | MaxPool | LRN | Inception


@dataclass(frozen=True)
class Convolution:
    """What "a convolution" means in one network: bias and ReLU, or batch normalization and ReLU.

    `gamma` and `epsilon` belong to batch normalization and mean nothing without it.
    """

    batch_norm: bool = field(default=False, metadata=SWITCH)
    gamma: bool = field(default=True, metadata=SWITCH)
    epsilon: float = field(default=1e-3, metadata=ABOVE_0)


@dataclass(frozen=True)
class AuxiliaryHead:
    """An auxiliary classifier on the output of the row `tap`; `prefix` begins the names of its layers.

    Attributes:
        name: The name of its output.
        tap: The name of a row.
        prefix: What the names of its layers begin with, of no row and no other head.
        pool: `"5x5/3"`, the paper's average pooling (valid), or `"adaptive_4x4"`, torchvision's.
        conv: Number of filters of its 1x1 convolution.
        dense: Number of units of its hidden linear layer.
        dropout: Rate in [0, 1).
        loss_weight: Weight of its loss beside the main head's, which is 1; at least 0.
    """

    name: str = field(metadata=NAME)
    tap: str = field(metadata=TEXT)
    prefix: str = field(metadata=NAME)
    pool: str = field(default="5x5/3", metadata=one_of(POOLS))
    conv: int = field(default=128, metadata=SIZE)
    dense: int = field(default=1024, metadata=SIZE)
    dropout: float = field(default=0.7, metadata=SHARE)
    loss_weight: float = field(default=0.3, metadata=FROM_0)


@dataclass(frozen=True)
class Architecture:
    """One network: what is built, for which images, and how it wants them preprocessed.

    A record of your own goes where the name of one in `ARCHITECTURES` goes, and into the `.keras` file.

    Attributes:
        name: What the network is called; `GoogLeNet` names the model so.
        rows: The trunk, from the image on.
        auxiliary_heads: Any number of them, in the order of the outputs, after the main head on the last row.
        convolution: What "a convolution" means.
        image_size: Height and width, in pixels, of the images by default.
        padding: `"symmetric"` (Caffe's and PyTorch's: strided convolutions pad the same number of pixels on every
            side, pooling does not pad and rounds its output size up) or `"same"` (TensorFlow's).
        conv5x5_kernel_size: The real size of the kernels in the column "5x5".
        dropout: Rate of the main head's dropout in [0, 1).
        preprocessing: The mode of `preprocess_input`.

    Names must serve as those of Keras's layers, and none may be what a layer or a log of another row or head is called.

    Raises:
        InputError: A field of the record or of one of its parts is out of range, or names are not unique.
    """

    name: str = field(metadata=NAME)
    rows: tuple[Row, ...] = field(metadata=rule("at least one row, and rows alone", _tuple_of(Row, 1)))
    auxiliary_heads: tuple[AuxiliaryHead, ...] = field(
        metadata=rule("of `AuxiliaryHead`s alone", _tuple_of(AuxiliaryHead, 0))
    )
    convolution: Convolution = field(metadata=rule("a `Convolution`", _of_kind(Convolution)))
    image_size: int = field(metadata=SIZE)
    padding: str = field(default="symmetric", metadata=one_of(PADDINGS))
    conv5x5_kernel_size: int = field(default=5, metadata=SIZE)
    dropout: float = field(default=0.4, metadata=SHARE)
    preprocessing: str = field(default="inception", metadata=one_of(PREPROCESSINGS))

    def __post_init__(self) -> None:
        check(self, "An architecture's ")
        for part in (*self.rows, *self.auxiliary_heads, self.convolution):
            check(part, f"In architecture {self.name!r}, {shown(part)}: ")
        rows = [row.name for row in self.rows]
        # Each name, and what may follow it and an underscore in the name of a layer or of a log.
        names = [(row.name, WORDS[type(row)]) for row in self.rows]
        names += [(name, ("drop", "classifier", *LOG_WORDS)) for name in MAIN_HEAD]
        for head in self.auxiliary_heads:
            words = WORDS[AuxiliaryHead]
            if head.name == head.prefix:
                names.append((head.name, (*words, *LOG_WORDS)))
            else:
                names += [(head.prefix, words), (head.name, LOG_WORDS)]
        for (first, words), (second, _) in permutations((*names, *((name, ()) for name in TAKEN)), 2):
            if first == second or (
                second.startswith(f"{first}_") and second.removeprefix(f"{first}_").partition("_")[0] in words
            ):
                raise InputError(
                    "Rows, heads and the prefixes of heads must have names of their own, and none may be what a layer "
                    f"or a log of another one is called; {', '.join((*MAIN_HEAD, *TAKEN))} are taken. "
                    f"Received: {first!r} and {second!r} in architecture {self.name!r}"
                )
        for head in self.auxiliary_heads:
            if head.name.startswith("val_"):
                raise InputError(
                    "No name of a head may begin with `val_`, as the names of Keras's logs of the validation do. "
                    f"Received: head {head.name!r} in architecture {self.name!r}"
                )
            if head.tap not in rows:
                raise InputError(
                    f"The tap of an auxiliary head must be a row: {', '.join(rows)}. "
                    f"Received: head {head.name!r} with tap={head.tap!r} in architecture {self.name!r}"
                )
        for row in self.rows:
            if self.padding == "symmetric" and isinstance(row, Conv) and row.strides > 1 and row.kernel_size % 2 == 0:
                raise InputError(
                    'With `padding="symmetric"` strided kernels must be odd, to pad both sides alike. Use "same". '
                    f"Received: row {row.name!r} with kernel_size={row.kernel_size} in architecture {self.name!r}"
                )

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of all heads in the order of the outputs, `"main"` first."""
        return ("main", *(head.name for head in self.auxiliary_heads))

    @property
    def loss_weights(self) -> tuple[float, ...]:
        """The weights of the losses in the order of `heads`."""
        return (1.0, *(head.loss_weight for head in self.auxiliary_heads))

    @property
    def taps(self) -> dict[str, str]:
        """The name of the row that each head reads, by the name of the head."""
        return {"main": self.rows[-1].name, **{head.name: head.tap for head in self.auxiliary_heads}}

    def owner(self, layer_name: str) -> str | None:
        """Returns what a layer belongs to: a row's name, `"linear"`, an auxiliary head's name, or None."""
        owners = {row.name: row.name for row in self.rows}
        owners |= dict.fromkeys(MAIN_HEAD, "linear")
        owners |= {prefix: head.name for head in self.auxiliary_heads for prefix in (head.prefix, head.name)}
        found = [prefix for prefix in owners if f"{layer_name}_".startswith(f"{prefix}_")]
        return owners[max(found, key=len)] if found else None

    def scaled(self, width: float) -> "Architecture":
        """Returns the architecture whose trunk is `width` times as wide, called such as "googlenet_bn_0.5" (ours).

        Numbers of filters are rounded to multiples of 8 (MobileNet's habit), and are 8 at least. The heads keep theirs.

        Raises:
            InputError: The width is not from 0.05 to 10.
        """
        width = argument("width", width, between(0.05, 10))
        if width == 1:
            return self

        def scale(row: Row) -> Row:
            channels = {key: value for key, value in asdict(row).items() if value and key not in NOT_CHANNELS}
            return replace(row, **{key: max(8, 8 * round(value * width / 8)) for key, value in channels.items()})

        return replace(self, name=f"{self.name}_{width:g}", rows=tuple(map(scale, self.rows)))

    def with_heads(self, taps: Sequence[str]) -> "Architecture":
        """Returns the architecture with one auxiliary head on each of some rows, in the order of the rows.

        Heads that it has there stay what they are; a new one, on `inception_3b`, is called `aux_3b`, and is otherwise
        as the paper's.

        Raises:
            InputError: One of them is no row, or stands there twice.
        """
        rows, taps = [row.name for row in self.rows], argument("heads", taps, TAPS)
        if not set(taps) <= set(rows):
            raise InputError(
                f"`heads` must be rows of {self.name!r}: {', '.join(rows)}. Received: heads={', '.join(taps)}"
            )
        heads = []
        for tap in sorted(taps, key=rows.index):
            name = f"aux_{tap.removeprefix('inception_')}"
            own = [head for head in self.auxiliary_heads if head.tap == tap]
            heads.append(own[0] if own else AuxiliaryHead(name, tap, name))
        return replace(self, auxiliary_heads=tuple(heads))

    def to_dict(self) -> dict[str, Any]:
        """Returns the record as JSON's types; each row says its `kind`. `from_dict` reads it."""
        rows = [{"kind": type(row).__name__, **asdict(row)} for row in self.rows]
        return {**asdict(self), "rows": rows, "auxiliary_heads": list(map(asdict, self.auxiliary_heads))}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Architecture":
        """Returns the record that `to_dict` wrote.

        Raises:
            InputError: The values are not those of an architecture.
        """
        try:
            rows = tuple(_row(**row) for row in values["rows"])
            heads = tuple(AuxiliaryHead(**head) for head in values["auxiliary_heads"])
            convolution = Convolution(**values["convolution"])
            return cls(**{**values, "rows": rows, "auxiliary_heads": heads, "convolution": convolution})
        except (TypeError, KeyError) as error:
            raise InputError(
                "An architecture must be what `Architecture.to_dict` returns. If it is a newer version's, update "
                f"keras-inception. Received: {shown(values)}, where {error} does not fit"
            ) from error


# What the names of the main head's layers begin with.
MAIN_HEAD = ("main", "pool5", "loss3")

# What an evaluation calls the average of the heads, beside these.
AVERAGE = "average"

# Names of layers that are there in any network, what begins the names of Keras's logs of the validation, and the above.
TAKEN = ("image", "preprocessing", "avg_pool", "max_pool", "val", AVERAGE)

# The words that follow the name of a row, or the prefix of a head, and an underscore in the names of its layers
# (`network/blocks.py`), and the name of a head in those of its logs that go on with an underscore (`top_5_accuracy`).
WORDS: dict[type, tuple[str, ...]] = {
    Conv: ("pad", "bn", "relu", "reduce"),
    MaxPool: (),
    LRN: (),
    Inception: ("1x1", "3x3", "5x5", "pool", "output"),
    AuxiliaryHead: ("ave", "conv", "flatten", "fc", "drop", "classifier"),
}
LOG_WORDS = ("top",)

# What in a row is no number of channels.
NOT_CHANNELS = ("name", "kernel_size", "pool_size", "strides")

ROW_KINDS = {kind.__name__: kind for kind in get_args(Row)}


def _row(kind: str, **values: Any) -> Row:
    return ROW_KINDS[kind](**values)


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

GOOGLENET = Architecture(
    name="googlenet",
    rows=(*STEM, *INCEPTION_3, POOL3, *INCEPTION_4, POOL4, *INCEPTION_5),
    # On 4a and 4d, with losses that weigh 0.3 (the paper, section 5).
    auxiliary_heads=(AuxiliaryHead("aux1", "inception_4a", "loss1"), AuxiliaryHead("aux2", "inception_4d", "loss2")),
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
    auxiliary_heads=tuple(replace(head, pool="adaptive_4x4") for head in GOOGLENET.auxiliary_heads),
    convolution=Convolution(batch_norm=True),
    padding="symmetric",
)

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (GOOGLENET, GOOGLENET_BN, GOOGLENET_SMALL, INCEPTION_V1_SLIM, INCEPTION_V1_TORCHVISION)
}


def get(architecture: str | Architecture | None = None, width: float | None = None) -> Architecture:
    """Returns the architecture of a name in `ARCHITECTURES`, or the record itself, its trunk `width` times as wide.

    By default it is the paper's, and its trunk as wide as its rows say.

    Raises:
        InputError: There is none of that name, or the width is not from 0.05 to 10.
    """
    width = 1.0 if width is None else width
    if architecture is None:
        return GOOGLENET.scaled(width)
    if isinstance(architecture, Architecture):
        return architecture.scaled(width)
    if isinstance(architecture, str) and architecture in ARCHITECTURES:
        return ARCHITECTURES[architecture].scaled(width)
    raise InputError(
        f"`architecture` must be an `Architecture` or one of {', '.join(ARCHITECTURES)}; `width` is an argument of its "
        f"own. {did_you_mean(architecture, ARCHITECTURES)}Received: architecture={shown(architecture)}"
    )


def named(architecture: Architecture) -> tuple[str | Architecture, float]:
    """Returns the name and the width by which `get` returns an architecture; of any other itself, and 1."""
    name, _, width = architecture.name.rpartition("_")
    for known, scale in ((architecture.name, "1"), (name, width)):
        with contextlib.suppress(ValueError):  # it is no number, or none that a width may be
            if known in ARCHITECTURES and get(known, float(scale)) == architecture:
                return known, float(scale)
    return architecture, 1.0


def saved(value: Architecture | Mapping[str, Any] | str | None) -> Architecture | None:
    """Returns the architecture that a `.keras` file holds: a dict; in old files a name, such as "googlenet@0.5"."""
    if value is None or isinstance(value, Architecture):
        return value
    if isinstance(value, str):
        name, _, width = value.partition("@")
        return get(name, float(width or 1))
    return Architecture.from_dict(value)


def of(model: Any) -> Architecture:
    """Returns the architecture of a built model.

    Raises:
        InputError: The model does not say which it has.
    """
    architecture = getattr(model, "architecture", None)
    if not isinstance(architecture, Architecture):
        raise InputError(
            "The model must know its architecture, as what `GoogLeNet` returns and its copies do. Of an earlier "
            "version's model `copy.deepcopy` makes such a copy, and Keras's `clone_model` does not. "
            f"Received: {described(model)} with architecture={architecture!r}"
        )
    return architecture


def described(model: Any) -> str:
    """Returns what an error says that it received: the class and the name of a model, or the class of anything else."""
    name = getattr(model, "name", None)
    return f"model={type(model).__name__}" + (f" {name!r}" if isinstance(name, str) else "")


def layers_by_owner(model: Any) -> dict[str, list[Any]]:
    """Returns the layers of a built model, in its order, by what they belong to (see `Architecture.owner`).

    The keys are the rows that the model has, in the order of the architecture, then `"linear"` and the auxiliary heads.
    The last layer of a row gives the row's output.

    Raises:
        InputError: The model does not say its architecture.
    """
    architecture = of(model)
    layers: dict[str | None, list[Any]] = defaultdict(list)
    for layer in model.layers:
        layers[architecture.owner(layer.name)].append(layer)
    owners = (*(row.name for row in architecture.rows), "linear", *architecture.heads[1:])
    return {owner: layers[owner] for owner in owners if owner in layers}
