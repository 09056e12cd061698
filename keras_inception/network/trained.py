"""The weights of one's own trainings, layer by layer: for fine-tuning, and between models with heads and without."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_inception import architectures, files
from keras_inception.errors import InputError, MissingFileError
from keras_inception.network.model import InceptionModel
from keras_inception.network.record import KNOWN, read_known
from keras_inception.network.saved import load_model
from keras_inception.types import Array, PathLike

SHOWN = 5  # layers that an error names


def load_trained_weights(
    model: InceptionModel, weights: PathLike | keras.Model, *, class_names: Sequence[str] | None = None
) -> InceptionModel:
    """Loads the weights of a training of one's own by the names of the layers: the whole trunk or, on an error, none.

    What differs in the heads begins anew, and a warning says which layers do: classifiers of another number of classes
    or of other classes, and heads that the file has not, or has for images of another size. Heads that the model has
    not are left out.

    Args:
        model: What takes the weights, of the same architecture.
        weights: The folder of a run, a `.keras` file, a `.weights.h5` file, `"hf://USER/MODEL"`, or a model. They say
            what their images went through, and the model's `preprocessing` becomes that; a weights file of an earlier
            version does not.
        class_names: The names of the model's classes; by default its `class_names`. Where it has none, and a classifier
            is loaded, they become those of the weights.

    Returns:
        The model.

    Raises:
        MissingFileError: There is no such file.
        InputError: It holds no such weights, they are of another architecture, or not finite.
    """
    arrays, source, known = _stored(weights)
    if source is not None and _trunk(source) != _trunk(model):
        raise InputError(
            "The weights must be of the model's architecture and width, and these are of "
            f"architecture={architectures.of(source).name!r}; where `architecture` and `width` are left out, "
            f"`GoogLeNet` and `train` take those of the weights. Received: weights={_name(weights)!r}, a model of "
            f"{architectures.of(model).name!r}"
        )
    names, theirs = class_names or model.class_names, known.get("class_names")
    other_classes = names is not None and theirs not in (None, list(names))
    anew = _assign(model, arrays, classifiers(model) if other_classes else [], f"Received: weights={_name(weights)!r}")
    if known:
        if model.record.preprocessing is not None:  # None where other layers come before the network
            model.record.preprocessing = known["preprocessing"]
        model.record.resize = known["resize"]
        if names is None and theirs is not None and set(classifiers(model)) - set(anew):
            model.class_names = theirs
    if anew:
        warnings.warn(
            f"All weights of {_name(weights)} were loaded except those of {', '.join(anew)}, which begin anew: they "
            "are not there, or for other classes or images of another size.",
            stacklevel=2,
        )
    return model


def _trunk(model: InceptionModel) -> architectures.Architecture:
    """Returns the architecture without its auxiliary heads, any of which may begin anew."""
    return replace(architectures.of(model), auxiliary_heads=())


def _assign(model: InceptionModel, arrays: dict[str, list[Array]], others: Sequence[str], received: str) -> list[str]:
    """Sets the layers to arrays by their names, the whole trunk or nothing; returns which layers begin anew.

    Args:
        model: The model.
        arrays: The weights of each layer.
        others: The layers that begin anew in any case.
        received: The end of an error.
    """
    architecture = architectures.of(model)
    rows = {row.name for row in architecture.rows}
    fitting, anew, wrong = [], [], []
    for layer in model.layers:
        found, shapes = arrays.get(layer.name, []), [tuple(weight.shape) for weight in layer.weights]
        if [array.shape for array in found] == shapes and layer.name not in others:
            fitting.append((layer, found))
        elif architecture.owner(layer.name) in rows:
            wrong.append(f"{layer.name} is {shapes}, and there it is {[array.shape for array in found] or 'missing'}")
        else:
            anew.append(layer.name)
    not_finite = [layer.name for layer, found in fitting if not all(np.isfinite(array).all() for array in found)]
    if wrong or not_finite:
        wrong += [f"{name} holds values that are NaN or infinite" for name in not_finite]
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise InputError(
            "The weights must be finite, and of the model's architecture, width and channels (of a network that was "
            "saved as a run or a `.keras` file, `GoogLeNet` and `train` take them over). Nothing was loaded: "
            f"{'; '.join(wrong[:SHOWN])}{more}. {received}"
        )
    for layer, found in fitting:
        layer.set_weights(found)
    return anew


def _stored(
    weights: PathLike | keras.Model,
) -> tuple[dict[str, list[Array]], InceptionModel | None, dict[str, Any]]:
    """Returns the weights of each layer, the model that has them, and what is known of it; a weights file has none."""
    if not isinstance(weights, keras.Model) and str(weights).endswith(".h5"):
        arrays, known = _read(files.named(weights, "weights"))
        return arrays, None, known
    if not isinstance(weights, keras.Model):
        files.named(weights, "weights")
    source: Any = weights if isinstance(weights, keras.Model) else load_model(weights, compiled=False)
    if not isinstance(source, InceptionModel):
        raise InputError(
            "`weights` must be a network of keras_inception, what `GoogLeNet` or `change_classes` returned; of a model "
            f"around one, give that one. Received: weights={type(source).__name__} {source.name!r}"
        )
    return {layer.name: layer.get_weights() for layer in source.layers}, source, source.known()


def classifiers(model: InceptionModel) -> list[str]:
    """Returns the names of the layers that give the logits of the heads."""
    layers = {layer.name: layer for layer in model.layers}
    by_output = {id(layer.output): name for name, layer in layers.items() if isinstance(layer, keras.layers.Dense)}
    inputs = [id(layers[name].input) for name in model.output_names if name in layers]
    return [by_output[each] for each in inputs if each in by_output]


def _name(weights: PathLike | keras.Model) -> str:
    return weights.name if isinstance(weights, keras.Model) else os.fspath(weights)


def _read(path: Path) -> tuple[dict[str, list[Array]], dict[str, Any]]:
    """Reads a `.weights.h5` file: the arrays of each layer, by its name, and what is known of the network."""
    import h5py

    if not path.is_file():
        raise MissingFileError(f"There is no weights file of that name. Received: weights={str(path)!r}")
    layers: dict[str, list[Array]] = {}

    def visit(place: str, group: object) -> None:
        if (
            isinstance(group, h5py.Group)
            and place.startswith("layers/")
            and place.count("/") == 2
            and "name" in group.attrs
        ):
            # A network within another model has `KNOWN` there.
            layers[group.attrs["name"]] = [np.asarray(group[key]) for key in sorted({*group} - {KNOWN}, key=int)]

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
            known = read_known(file[f"vars/{KNOWN}"]) if f"vars/{KNOWN}" in file else {}
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(
            f"A weights file must be what `save_weights` wrote, and this one cannot be read: {error}. "
            f"Received: weights={str(path)!r}"
        ) from error
    return layers, known
