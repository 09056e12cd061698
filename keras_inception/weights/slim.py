"""Reads TensorFlow 1 checkpoints and says where TF-slim's Inception v1 stands in one.

Reference: TF-slim, `tf_slim/nets/inception_v1.py`, for the names of the variables.
"""

import glob
import math
import os
import tarfile
import tempfile
import zlib
from pathlib import Path

from keras_inception.architectures import Architecture
from keras_inception.errors import InputError
from keras_inception.types import Array, PathLike
from keras_inception.weights.layout import BRANCHES, Stored, convolutions

STEM = ("Conv2d_1a_7x7", "Conv2d_2b_1x1", "Conv2d_2c_3x3")
BRANCH_SCOPES = (
    "Branch_0/Conv2d_0a_1x1",
    "Branch_1/Conv2d_0a_1x1",
    "Branch_1/Conv2d_0b_3x3",
    "Branch_2/Conv2d_0a_1x1",
    "Branch_2/Conv2d_0b_3x3",
    "Branch_3/Conv2d_0b_1x1",
)
# The one scope that TF-slim named differently, and must go on naming so for its checkpoint's sake.
SCOPES_OF_THEIR_OWN = {"Mixed_5b/Branch_2/Conv2d_0b_3x3": "Mixed_5b/Branch_2/Conv2d_0a_3x3"}
CLASSIFIER = "Logits/Conv2d_0c_1x1"


def read(path: PathLike) -> dict[str, Array]:
    """Reads the variables of a TensorFlow checkpoint.

    Args:
        path: The checkpoint: one file (TensorFlow 1's first format, as published), the common beginning of the names
            of an `.index` and a `.data` file (the second format), or an archive `.tar.gz` that holds either.

    Returns:
        A dict of arrays by the names of the variables.

    Raises:
        InputError: The file is cut short, is no checkpoint, or is an archive without one.
    """
    path = os.fspath(path)
    with tempfile.TemporaryDirectory() as folder:
        try:
            if not path.endswith((".tar.gz", ".tgz")) and not (os.path.isfile(path) and tarfile.is_tarfile(path)):
                return _read_checkpoint(path.removesuffix(".index"), path)
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            reason = (str(error).splitlines() or ["it is empty"])[0]
            raise InputError(
                f"The file is cut short, damaged, or no `.tar.gz` archive: {reason}. Received: path={path!r}"
            ) from error
        found = [file for file in sorted(Path(folder).rglob("*.ckpt*")) if file.is_file()]
        checkpoints = [file for file in found if ".ckpt.data-" not in file.name and file.suffix != ".meta"]
        if not checkpoints:
            raise InputError(f"The archive must hold a checkpoint, a file named `*.ckpt`. Received: path={path!r}")
        return _read_checkpoint(str(checkpoints[0]).removesuffix(".index"), path)


def _read_checkpoint(checkpoint: str, path: str) -> dict[str, Array]:
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(checkpoint)
        shapes = reader.get_variable_to_shape_map()
        size = sum(os.path.getsize(file) for file in glob.glob(f"{glob.escape(checkpoint)}*"))
        if any(math.prod(shape) > size for shape in shapes.values()):
            raise ValueError(f"it has {size:,} bytes, and a variable has more values.")
        return {name: reader.get_tensor(name) for name in shapes}
    except Exception as error:  # TensorFlow has no end of classes for what is wrong with a file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"The file is cut short or is no TensorFlow checkpoint: {reason} Received: path={path!r}"
        ) from error


def layout(architecture: Architecture) -> dict[str, Stored]:
    """Returns where the checkpoint holds each weight of `inception_v1_slim`: a dict of `Stored` by `"layer/weight"`."""
    stem, modules = convolutions(architecture)
    scopes = dict(zip(stem, STEM, strict=True))
    for module in modules:
        # Slim counts the pooling before a group of modules as its letter "a": the paper's 3a is slim's 3b.
        mixed = f"Mixed_{module[0]}{chr(ord(module[1]) + 1)}"
        for branch, scope in zip(BRANCHES, BRANCH_SCOPES, strict=True):
            scope = f"{mixed}/{scope}"
            scopes[f"inception_{module}_{branch}"] = SCOPES_OF_THEIR_OWN.get(scope, scope)
    found = {}
    for layer, scope in scopes.items():
        found[f"{layer}/kernel"] = Stored(f"InceptionV1/{scope}", "/weights")
        for weight in ("beta", "moving_mean", "moving_variance"):
            found[f"{layer}_bn/{weight}"] = Stored(f"InceptionV1/{scope}", f"/BatchNorm/{weight}")
    found["loss3_classifier/kernel"] = Stored(f"InceptionV1/{CLASSIFIER}", "/weights", _without_leading_ones)
    found["loss3_classifier/bias"] = Stored(f"InceptionV1/{CLASSIFIER}", "/biases")
    return found


def _without_leading_ones(array: Array) -> Array:
    """Turns a 1x1 convolution's `(1, 1, inputs, outputs)` into `(inputs, outputs)`."""
    return array.reshape(array.shape[-2:])
