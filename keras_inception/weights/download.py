"""Fetches the published files, checks them, and keeps what was converted in Keras's cache."""

import contextlib
import hashlib
import os
import tempfile
import urllib.error
from typing import Any

import h5py
import keras
import numpy as np

from keras_inception import files
from keras_inception.errors import DownloadError, InputError
from keras_inception.types import Array
from keras_inception.weights.sources import Source

# Raise it whenever a change of the layouts makes the files that earlier versions converted wrong.
CONVERSION = 1


def cache_folder() -> str:
    """Returns the folder of downloaded models in Keras's cache, `~/.keras/models` unless `KERAS_HOME` says otherwise.

    As `keras.utils.get_file` does, it falls back on the folder for temporary files where that one is read-only.
    """
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    with contextlib.suppress(OSError):  # a home that cannot be made cannot be written either
        os.makedirs(home, exist_ok=True)
    if not os.access(home, os.W_OK):
        home = os.path.join(tempfile.gettempdir(), ".keras")
    return os.path.join(home, "models")


def get_file(name: str, address: str, what: str, **options: Any) -> str:
    """Downloads a file into Keras's cache as `keras.utils.get_file` does; returns its path.

    Args:
        name: Name of the file in the cache.
        address: Where it is offered.
        what: What it holds, for the error.
        **options: Further arguments of `keras.utils.get_file`.

    Raises:
        DownloadError: The address does not answer, or stopped answering.
    """
    try:
        return keras.utils.get_file(name, address, cache_subdir="models", **options)
    except Exception as error:
        # Keras makes a plain `Exception` of an address that does not answer. What is no such thing goes on.
        cause = error.__context__ if type(error) is Exception else error
        if not isinstance(cause, (urllib.error.URLError, ConnectionError, TimeoutError)):
            raise
        raise DownloadError(f"{what} could not be downloaded: {error}.") from error


def fetch(source: Source) -> str:
    """Downloads the file of a `Source`, with a progress bar, unless the cache has it.

    Returns:
        The path of the file, whose hash is the published one where the publisher gives one.

    Raises:
        DownloadError: The file could not be downloaded.
        InputError: What was downloaded has another hash; it is not kept.
    """
    folder, name = cache_folder(), os.path.basename(source.address)
    path = os.path.join(folder, name)
    if os.path.exists(path) and _has_published_hash(path, source):
        return path
    part = f"{name}.{os.getpid()}.part"  # never a half file under the final name
    try:
        part = get_file(
            part,
            source.address,
            f"The weights of {source.publisher}",
            cache_dir=os.path.dirname(folder),
            force_download=True,
        )
    except DownloadError as error:
        raise DownloadError(f"{error} {by_hand(source)}") from error
    if not _has_published_hash(part, source):
        received = _hash(part, source.hash_algorithm)
        os.remove(part)
        raise InputError(
            f"The file from {source.address} must have a {source.hash_algorithm} of {source.hash_start}..., as its "
            "publisher says; it is another file or was damaged on the way, and was not kept. "
            f"{by_hand(source)} Received: {source.hash_algorithm}={received}"
        )
    os.replace(part, path)
    return path


def by_hand(source: Source) -> str:
    """Returns the sentence that tells how to do without `fetch`."""
    return (
        f"Download {source.address} in another way and give the file: "
        f'`load_published_weights(model, "{source.name}", path)`.'
    )


def _has_published_hash(path: str, source: Source) -> bool:
    return not source.hash_algorithm or _hash(path, source.hash_algorithm).startswith(source.hash_start)


def _hash(path: str, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def converted_path(source: Source) -> str:
    """Returns where the converted weights of a `Source` are kept: a weights file of Keras, `.h5`."""
    return os.path.join(cache_folder(), f"keras_inception_{source.name}.h5")


def read_converted(source: Source) -> dict[str, Array] | None:
    """Returns the converted weights in the cache, a dict of arrays by `"layer/weight"`; None if there are none."""
    try:
        with h5py.File(converted_path(source), "r") as file:
            if file.attrs.get("conversion") != CONVERSION:
                return None
            return {path: file[path][()] for path in source.tensors()}
    except (OSError, KeyError):  # absent, cut short by a full disk, or not ours
        return None


def write_converted(source: Source, arrays: dict[str, Array]) -> None:
    """Keeps converted weights in the cache, in the format of the weights files of `keras.applications`.

    `keras_model.load_weights(path, by_name=True)` reads such a file too.

    Args:
        source: The `Source` of the weights.
        arrays: Arrays by `"layer/weight"`, those of one layer in the order of the layer's weights.
    """
    path = converted_path(source)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    layers: dict[str, list[str]] = {}
    for name in arrays:
        layers.setdefault(name.split("/")[0], []).append(name)
    with files.written_aside(path) as aside, h5py.File(aside, "w") as file:
        file.attrs["conversion"] = CONVERSION
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, names in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.split("/")[1].encode() for name in names]
            for name in names:
                group.create_dataset(name.split("/")[1], data=np.asarray(arrays[name], "float32"))
