"""Puts published weights into a model: all of them or none."""

import os
import warnings
from typing import TypeVar

import keras
import numpy as np

from keras_inception import architectures
from keras_inception.architectures import Architecture
from keras_inception.errors import InputError, MissingFileError
from keras_inception.types import Array, PathLike
from keras_inception.weights import download
from keras_inception.weights.sources import SOURCES, Source

Model = TypeVar("Model", bound=keras.Model)

SHOWN = 5  # weights that an error names; a foreign file lacks them all


def load_published_weights(model: Model, source: str, path: PathLike | None = None) -> Model:
    """Loads the ImageNet weights that someone published for this network: all of them or, on any error, none.

    The model's `preprocessing` becomes that of the weights. If the model has another number of classes than the file,
    everything is loaded but the classifiers (the last linear layer of each head), which stay as they are, and a
    warning says so. TF-slim's file has 1001 classes, of which the first is "background"; a model of 1000 classes gets
    the others.

    Args:
        model: What `GoogLeNet` returned, for images of 3 channels: of the architecture `"googlenet"` for `"bvlc"`,
            `"inception_v1_slim"` for `"tf_slim"`, `"inception_v1_torchvision"` for `"torchvision"`. With or without
            auxiliary heads, or without any (`include_top=False`).
        source: Who published the weights: `"bvlc"` (the auxiliary heads are trained), `"tf_slim"` (which has none) or
            `"torchvision"` (they are in the file, untrained).
        path: The publisher's file: a `.caffemodel`; a TensorFlow checkpoint (its path without `.index`) or the
            `.tar.gz` that holds it; a PyTorch state dict. By default it is downloaded once from the publisher's
            address, checked against the published hash, and kept in `~/.keras/models`.

    Returns:
        The model.

    Raises:
        DownloadError: The file could not be downloaded.
        MissingFileError: There is no file at `path`.
        MissingPackageError: `"torchvision"` needs PyTorch, which is not installed.
        InputError: The source is unknown or made for another architecture, the file is not the publisher's, or
            weights are missing or have other shapes than the model's.

    Reference: BVLC Caffe, `models/bvlc_googlenet`; TF-slim, `inception_v1`; torchvision, `models/googlenet.py`.
    """
    if source not in SOURCES:
        raise InputError(f"`source` must be one of {', '.join(SOURCES)}. Received: source={source!r}")
    publication = SOURCES[source]
    architecture = getattr(model, "architecture", None)
    if architecture != publication.architecture:
        raise InputError(
            f"The weights of {publication.publisher} belong to the graph of `GoogLeNet(architecture="
            f'"{publication.architecture.name}")`; in another graph they compute something else. '
            f"Received: a model with architecture={getattr(architecture, 'name', architecture)!r}"
        )
    arrays = _downloaded(publication) if path is None else read(publication, path)
    fresh = assign(model, publication, arrays, "the published file" if path is None else f"path={os.fspath(path)!r}")
    if fresh:
        classes = arrays[f"{fresh[0]}/bias"].shape[0]
        warnings.warn(
            f"The weights of {publication.publisher} are for {classes} classes. All were loaded except the "
            f"classifiers {', '.join(fresh)}, which keep their weights and are yet to be trained.",
            stacklevel=2,
        )
    return model


def source_of(weights: PathLike | None, architecture: str | Architecture) -> Source | None:
    """Returns the `Source` that the argument `weights` of `GoogLeNet` means.

    Args:
        weights: None, `"imagenet"`, the path of a publisher's file, or that of a Keras weights file (`.h5`).
        architecture: The architecture or its name.

    Returns:
        The source; None for random weights and for Keras's files, which do not say where they are from.

    Raises:
        InputError: Nobody published weights for that architecture.
    """
    if weights is None or os.fspath(weights).endswith(".h5"):
        return None
    architecture = architectures.get(architecture)
    for source in SOURCES.values():
        if source.architecture == architecture:
            return source
    raise InputError(
        '`weights="imagenet"` needs an architecture that weights were published for: '
        f"{', '.join(source.architecture.name for source in SOURCES.values())}. "
        f"Received: architecture={architecture.name!r}"
    )


def _downloaded(source: Source) -> dict[str, Array]:
    """Returns the weights of the publisher's own file."""
    path = download.fetch(source)
    try:
        return read(source, path)
    except InputError as error:
        os.remove(path)
        raise InputError(
            f"What {source.address} sent is not the published file and was not kept. {download.by_hand(source)} {error}"
        ) from error


def read(source: Source, path: PathLike) -> dict[str, Array]:
    """Returns the weights in a published file: a dict of arrays, as Keras orders their axes, by `"layer/weight"`."""
    path = os.path.expanduser(os.fspath(path))
    if not os.path.exists(path) and not os.path.exists(f"{path}.index"):
        raise MissingFileError(f"`path` must be a file of {source.publisher}'s. Received: path={path!r}")
    found, arrays, misshapen = source.read(path), {}, []
    for name, tensor in source.tensors().items():
        if tensor.name in found:
            try:
                arrays[name] = np.asarray(tensor.convert(found[tensor.name]), "float32")
            except ValueError:
                misshapen.append(f"`{tensor.name}` of shape {found[tensor.name].shape}")
    if misshapen:
        raise InputError(
            f"The file must hold the network of {source.publisher}. Nothing was loaded, because these have shapes "
            f"that no such network has: {_listing(misshapen)}. Received: path={path!r}"
        )
    return arrays


def assign(model: keras.Model, source: Source, arrays: dict[str, Array], received: str) -> list[str]:
    """Puts what `read` returned into a model: all of it or, on an error, nothing.

    Returns:
        The names of the classifiers that were left as they are, because the file has them for other classes.
    """
    tensors = source.tensors()
    variables = {f"{layer.name}/{weight.name}": weight for layer in model.layers for weight in layer.weights}
    variables = {name: variable for name, variable in variables.items() if name in tensors}
    fresh = []
    for layer in source.classifiers:
        kernel, bias = f"{layer}/kernel", f"{layer}/bias"
        if {kernel, bias} <= set(arrays) & set(variables):
            found, wanted = arrays[bias].shape[0], variables[bias].shape[0]
            if source.background and (found, wanted) == (1001, 1000):
                arrays = arrays | {name: arrays[name][..., 1:] for name in (kernel, bias)}
            elif found != wanted and arrays[kernel].shape[-1] == found:
                fresh.append(layer)
                del variables[kernel], variables[bias]
    _check(source, arrays, variables, received)
    for name, variable in variables.items():
        variable.assign(arrays[name])
    model.preprocessing = source.preprocessing
    return fresh


def _check(source: Source, arrays: dict[str, Array], variables: dict[str, keras.Variable], received: str) -> None:
    """Refuses a file that does not hold each variable, in its shape."""
    tensors = source.tensors()
    missing = [f"`{tensors[name].name}` (for `{name}`)" for name in variables if name not in arrays]
    misshapen = [
        f"`{tensors[name].name}` gives {arrays[name].shape}, and `{name}` is {tuple(variable.shape)}"
        for name, variable in variables.items()
        if name in arrays and arrays[name].shape != tuple(variable.shape)
    ]
    if not missing and not misshapen:
        return
    parts = ["The file and the model must be the same network. Nothing was loaded."]
    if missing:
        parts.append(f"The file lacks {len(missing)} of the model's weights: {_listing(missing)}.")
    if misshapen:
        parts.append(f"{len(misshapen)} have another shape: {_listing(misshapen)}.")
    if any("_fc/kernel" in text for text in misshapen):
        parts.append(
            "The auxiliary heads read maps of 4x4 pixels, which images of 224x224 have: build the model for those, "
            "or with `aux_heads=False`."
        )
    if any("conv1_7x7_s2/kernel" in text for text in misshapen):
        parts.append("The published networks see images of 3 channels.")
    raise InputError(" ".join([*parts, f'Received: source="{source.name}", {received}']))


def _listing(texts: list[str]) -> str:
    more = len(texts) - SHOWN
    return "; ".join(texts[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
