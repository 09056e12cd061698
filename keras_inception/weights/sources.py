"""What was published: for which architecture, where, and how its files are read."""

from collections.abc import Callable
from dataclasses import dataclass

from keras_inception import architectures
from keras_inception.architectures import Architecture
from keras_inception.types import Array
from keras_inception.weights import caffe, slim, torchvision
from keras_inception.weights.layout import Stored


@dataclass(frozen=True)
class Source:
    """One publication of ImageNet weights.

    Attributes:
        name: What `load_published_weights` calls it.
        publisher: What people call it.
        architecture: The architecture whose graph the weights need.
        address: Where the publisher offers the file.
        read: Reads such a file: a dict of arrays by the file's own names.
        layout: Where the file holds each weight of the architecture: a dict of `Stored` by `"layer/weight"`.
        preprocessing: The mode of `preprocess_input` that the weights were trained with.
        hash_algorithm: "sha1" or "sha256", or "" where the publisher gives no hash.
        hash_start: The beginning of the file's hash in hexadecimal digits, all of it where the publisher gives all.
        background: Whether class 0 of the published 1001 classes is "background".
    """

    name: str
    publisher: str
    architecture: Architecture
    address: str
    read: Callable[[str], dict[str, Array]]
    layout: Callable[[Architecture], dict[str, Stored]]
    preprocessing: str
    hash_algorithm: str = ""
    hash_start: str = ""
    background: bool = False

    @property
    def classifiers(self) -> tuple[str, ...]:
        """The names of the last linear layer of each head."""
        return ("loss3_classifier", *(f"{head.prefix}_classifier" for head in self.architecture.auxiliary_heads))

    def tensors(self) -> dict[str, Stored]:
        """Returns where the file holds each weight of the network: a dict of `Stored` by `"layer/weight"`."""
        return self.layout(self.architecture)


BVLC = Source(
    name="bvlc",
    publisher="BVLC Caffe",
    architecture=architectures.GOOGLENET,
    address="http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel",
    read=caffe.read,
    layout=caffe.layout,
    preprocessing="caffe",
    hash_algorithm="sha1",  # in the file's model card
    hash_start="405fc5acd08a3bb12de8ee5e23a96bec22f08204",
)

TF_SLIM = Source(
    name="tf_slim",
    publisher="TF-slim",
    architecture=architectures.INCEPTION_V1_SLIM,
    address="http://download.tensorflow.org/models/inception_v1_2016_08_28.tar.gz",
    read=slim.read,
    layout=slim.layout,
    preprocessing="inception",
    background=True,
)

TORCHVISION = Source(
    name="torchvision",
    publisher="torchvision",
    architecture=architectures.INCEPTION_V1_TORCHVISION,
    address="https://download.pytorch.org/models/googlenet-1378be20.pth",
    read=torchvision.read,
    layout=torchvision.layout,
    preprocessing="inception",
    hash_algorithm="sha256",  # the digits in the file's name, PyTorch's convention
    hash_start="1378be20",
)

SOURCES: dict[str, Source] = {source.name: source for source in (BVLC, TF_SLIM, TORCHVISION)}
