"""Puts published weights into a model: all of them or none."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import keras
import numpy as np

from keras_inception import architectures, files
from keras_inception.architectures import Architecture
from keras_inception.errors import InputError, MissingFileError, shown
from keras_inception.types import Array, PathLike
from keras_inception.weights import download
from keras_inception.weights.layout import Stored
from keras_inception.weights.sources import SOURCES, Source

Model = TypeVar("Model", bound=keras.Model)

SHOWN = 5  # weights that an error names; a foreign file lacks them all
LOADED = "Nothing was loaded."


def load_published_weights(
    model: Model, source: str, path: PathLike | None = None, *, rename: Mapping[str, str] | None = None
) -> Model:
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

        rename: What the file calls layers otherwise than the publisher, such as `{"loss3/classifier":
            "loss3/flowers"}` for a network that was fine-tuned, or `{"fc": "fc.1"}` in PyTorch.

    Returns:
        The model.

    Raises:
        DownloadError: The file could not be downloaded.
        MissingFileError: There is no file at `path`.
        MissingPackageError: `"torchvision"` needs PyTorch, which is not installed.
        InputError: The source is unknown or made for another architecture, the file is damaged or not the publisher's,
            or weights are missing, are not finite, or have other shapes than the model's.

    Reference: BVLC Caffe, `models/bvlc_googlenet`; TF-slim, `inception_v1`; torchvision, `models/googlenet.py`.
    """
    if not isinstance(source, str) or source not in SOURCES:
        raise InputError(f"`source` must be one of {', '.join(SOURCES)}. Received: source={shown(source)}")
    publication = SOURCES[source]
    architecture = getattr(model, "architecture", None)
    if architecture != publication.architecture:
        raise InputError(
            f"The weights of {publication.publisher} belong to the graph of `GoogLeNet(architecture="
            f'"{publication.architecture.name}")`; in another graph they compute something else. '
            f"Received: a model with architecture={getattr(architecture, 'name', architecture)!r}"
        )
    weights = _downloaded(publication) if path is None else read(publication, path, rename)
    fresh = weights.assign(model)
    if fresh:
        warnings.warn(
            f"The weights of {publication.publisher} are for {weights.classes(fresh[0])} classes. All were loaded "
            f"except the classifiers {', '.join(fresh)}, which keep their weights and are yet to be trained.",
            stacklevel=2,
        )
    return model


def source_of(weights: PathLike | None, architecture: str | Architecture) -> Source | None:
    """Returns the `Source` that the argument `weights` of `GoogLeNet` means.

    Args:
        weights: None, `"imagenet"`, the path of a publisher's file, or what was trained: a run's folder, Keras's files
            (`.weights.h5`, `.keras`), `"hf://USER/MODEL"`.
        architecture: The architecture or its name.

    Returns:
        The source; None for random weights and for those of a training.

    Raises:
        MissingFileError: There is no such folder or file.
        InputError: Nobody published weights for that architecture.
    """
    if weights is None or str(weights).startswith("hf://"):
        return None
    path = files.named(weights, "weights")
    if path.suffix in (".h5", ".keras") or path.is_dir():
        return None
    if str(weights) != "imagenet" and not path.exists():
        raise MissingFileError(
            "`weights` must be the folder of a run, a file of Keras or of a publisher, or "
            f'"imagenet", and there is no such folder or file. Received: weights={shown(weights)}'
        )
    architecture = architectures.get(architecture)
    for source in SOURCES.values():
        if source.architecture == architecture:
            return source
    what = '`weights="imagenet"`' if str(weights) == "imagenet" else "A publisher's file"
    raise InputError(
        f"{what} needs an architecture that weights were published for: "
        f"{', '.join(source.architecture.name for source in SOURCES.values())}. "
        f"Received: architecture={architecture.name!r}"
    )


def _downloaded(source: Source) -> "Published":
    """Returns the weights of the publisher's own file."""
    path = download.fetch(source)
    try:
        return read(source, path)
    except InputError as error:
        os.remove(path)
        raise InputError(
            f"What {source.address} sent is not the published file and was not kept. {download.by_hand(source)} {error}"
        ) from error


def read(source: Source, path: PathLike, rename: Mapping[str, str] | None = None) -> "Published":
    """Reads a published file; see `load_published_weights`.

    Raises:
        MissingFileError: There is no file.
        InputError: `rename` names no layer, or the file is not that of such a network.
    """
    path, rename = os.path.expanduser(files.named(path, "path")), rename or {}
    received = f'Received: source="{source.name}", path={path!r}'
    if not os.path.isfile(path) and not os.path.isfile(f"{path}.index"):
        raise MissingFileError(f"`path` must be a file of {source.publisher}'s, and there is none. {received}")
    tensors = source.tensors()
    layers = {tensor.layer for tensor in tensors.values()}
    unknown = sorted(set(rename) - layers)
    if unknown:
        classifiers = [f"`{tensors[f'{name}/kernel'].layer}`" for name in source.classifiers]
        raise InputError(
            f"`rename` must name layers of {source.publisher}, such as {', '.join(classifiers)}. "
            f"Received: rename={shown(dict(rename))}"
        )
    tensors = {n: replace(tensor, layer=rename.get(tensor.layer, tensor.layer)) for n, tensor in tensors.items()}
    found, arrays, bad = source.read(path), {}, []
    for name, tensor in tensors.items():
        if tensor.name not in found:
            continue
        try:
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
                array = arrays[name] = np.asarray(tensor.convert(found[tensor.name]), "float32")
        except ValueError:
            bad.append(f"`{tensor.name}` has the shape {found[tensor.name].shape}, which no such network has")
            continue
        count = np.count_nonzero(~np.isfinite(array))
        if count:
            bad.append(f"`{tensor.name}` holds {count:,} values that are NaN or infinite")
        elif name.endswith("/moving_variance") and (array < 0).any():
            bad.append(f"`{tensor.name}` holds variances below 0")
    if bad:
        raise InputError(f"The file must hold the network of {source.publisher}. {LOADED} {_listing(bad)}. {received}")
    known = {tensor.name for tensor in tensors.values()}
    others = {name: array.shape for name, array in found.items() if name not in known and array.shape}
    return Published(source, tensors, arrays, others, received)


@dataclass(frozen=True)
class Published:
    """What a published file holds.

    Attributes:
        source: Who published it.
        tensors: Where the file holds each weight of the network, by `"layer/weight"`.
        arrays: The weights that it has, as Keras orders their axes, by `"layer/weight"`.
        others: The shapes of what else it has, by the file's names.
        received: The end of an error.
    """

    source: Source
    tensors: dict[str, Stored]
    arrays: dict[str, Array]
    others: dict[str, tuple[int, ...]]
    received: str

    def classes(self, classifier: str = "loss3_classifier") -> int:
        """The number of classes of a classifier; 0 where the file has none."""
        return self.arrays.get(f"{classifier}/bias", np.zeros(0)).size

    def assign(self, model: keras.Model) -> list[str]:
        """Puts the weights into a model: all of them or, on an error, none.

        Returns:
            The names of the classifiers that were left as they are, because the file has them for other classes.
        """
        variables = {f"{layer.name}/{weight.name}": weight for layer in model.layers for weight in layer.weights}
        variables = {name: variable for name, variable in variables.items() if name in self.tensors}
        arrays, fresh = dict(self.arrays), []
        for layer in self.source.classifiers:
            kernel, bias = f"{layer}/kernel", f"{layer}/bias"
            if {kernel, bias} <= set(arrays) & set(variables):
                found, wanted = self.classes(layer), variables[bias].shape[0]
                if self.source.background and (found, wanted) == (1001, 1000):
                    arrays |= {name: arrays[name][..., 1:] for name in (kernel, bias)}
                elif found != wanted and arrays[kernel].shape[-1:] == (found,):
                    fresh.append(layer)
                    del variables[kernel], variables[bias]
        self._check(arrays, variables)
        for name, variable in variables.items():
            variable.assign(arrays[name])
        model.record.preprocessing = self.source.preprocessing
        return fresh

    def _check(self, arrays: dict[str, Array], variables: dict[str, keras.Variable]) -> None:
        """Refuses a file that does not hold each variable, in its shape."""
        missing = [f"`{self.tensors[name].name}` (for `{name}`)" for name in variables if name not in arrays]
        misshapen = [
            f"`{self.tensors[name].name}` gives {arrays[name].shape}, and `{name}` is {tuple(variable.shape)}"
            for name, variable in variables.items()
            if name in arrays and arrays[name].shape != tuple(variable.shape)
        ]
        if not missing and not misshapen:
            return
        parts = [f"The file and the model must be the same network. {LOADED}"]
        if missing:
            parts.append(f"The file lacks {len(missing)} of the model's weights: {_listing(missing)}.")
            if self.others and len(missing) < len(variables):
                others = [f"`{name}` of shape {shape}" for name, shape in self.others.items()]
                parts.append(f"It holds besides: {_listing(others)}. Say with `rename` which layers these are.")
        if misshapen:
            parts.append(f"{len(misshapen)} have another shape: {_listing(misshapen)}.")
        if all("`loss1_" in text or "`loss2_" in text for text in missing + misshapen):
            parts.append("A model without auxiliary heads (`aux_heads=False`) does without these.")
        if any("_fc/kernel" in text for text in misshapen):
            parts.append("They read maps of 4x4 pixels, which images of 224x224 have.")
        if any("conv1_7x7_s2/kernel" in text for text in misshapen):
            parts.append("The published networks see images of 3 channels.")
        raise InputError(" ".join([*parts, self.received]))


def _listing(texts: list[str]) -> str:
    more = len(texts) - SHOWN
    return "; ".join(texts[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
