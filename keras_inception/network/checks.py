"""What a network refuses: images and weights that are not finite, inputs of another shape, outputs without a loss."""

from typing import Any

import keras
import numpy as np

from keras_inception.architectures import described
from keras_inception.errors import InputError


def check_input(model: keras.Model, images: Any) -> None:
    """Refuses what is no batch of finite numbers of the shape of the model's input."""
    check_shape(model, images)
    check_images(images)


def check_shape(model: keras.Model, images: Any) -> None:
    """Refuses what is no batch of the shape of the model's input.

    Raises:
        InputError: It has another shape, or none.
    """
    shape, expected = getattr(images, "shape", None), tuple(model.inputs[0].shape)
    if "complex" in str(getattr(images, "dtype", "")):
        raise InputError(f"Images must be of real numbers. Received: {type(images).__name__} of {images.dtype}")
    if shape is None or len(shape) != len(expected) or any(a not in (None, b) for a, b in zip(expected, shape)):
        raise InputError(
            f"Images must be an array or tensor of shape {expected}, where None stands for any size. Scale them, or "
            "build the network with their `input_shape`. "
            f"Received: {type(images).__name__} of shape {None if shape is None else tuple(shape)}"
        )


def check_some(images: Any) -> None:
    """Refuses arrays, or a batch, without an image; data of other kinds are looked at batch by batch.

    Raises:
        InputError: There is none.
    """
    first = next(iter(keras.tree.flatten(images)), None)
    shape: Any = getattr(first, "shape", ())
    if getattr(shape, "rank", 1) is not None and 0 in tuple(shape)[:1]:
        raise InputError(
            "Data, and each of its batches, must hold at least one image. Leave out empty batches, and look at what "
            f"chose the images. Received: images of shape {tuple(shape)}"
        )


def check_images(images: Any) -> None:
    """Refuses a batch of images, `(batch, ...)`, of which a value is NaN or infinite.

    Raises:
        InputError: It holds one.
    """
    for x in keras.tree.flatten(images):
        # A sum is faster than a look at each value, and finite only where all of them are.
        if x is None or not keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype)):
            continue
        if not np.isfinite(keras.ops.convert_to_numpy(keras.ops.cast(keras.ops.sum(x), "float32"))):
            bad = ~np.isfinite(as_numpy(x)).reshape(len(x), -1).all(axis=1)
            if bad.any():
                raise InputError(
                    "Images must hold finite numbers: a ReLU turns NaN into 0, so that the network would answer all "
                    "the same, and its weights would become NaN. Look at the input pipeline. Received: NaN or infinite "
                    f"values in {bad.sum()} of the {len(bad)} images of a batch, the first at index {bad.argmax()}"
                )


def check_image_shape(model: keras.Model) -> None:
    """Refuses a model to which image files cannot be brought: of no fixed size, or of channels that come first.

    Raises:
        InputError: It is such a model.
    """
    if None in model.input_shape[1:]:
        raise InputError(
            "What serves scales images to the size of its network's input. Build the network with a fixed "
            f"`input_shape`. Received: a model with input_shape={model.input_shape[1:]}"
        )
    if channels_come_first(model):
        raise InputError(
            "What serves takes images of (height, width, channels). Build the network under "
            '`keras.config.set_image_data_format("channels_last")`. Received: a model with data_format="channels_first"'
        )


def channels_come_first(model: keras.Model) -> bool:
    """Returns whether a model's images are (channels, height, width)."""
    return any(getattr(layer, "data_format", None) == "channels_first" for layer in model.layers)


def check_finite(model: keras.Model) -> None:
    """Refuses a model that would answer with what is not a number.

    Raises:
        InputError: A weight holds NaN or infinite values.
    """
    for weight in model.weights:
        if count := count_not_finite(weight):
            raise InputError(
                f"The model's weights must be finite, and {weight.path} holds {count:,} values that are NaN or "
                "infinite, as after a training that diverged. Use an earlier file, such as the run's best.keras, or "
                "train again. "
                f"Received: {described(model)}"
            )


def count_not_finite(weight: Any) -> int:
    """Returns how many values of a weight are NaN or infinite."""
    values = keras.ops.convert_to_numpy(weight)
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):  # faster than a look at each value, and finite only where all of them are
            return 0
    return values.size - np.count_nonzero(np.isfinite(values))


def as_numpy(values: Any) -> Any:
    """Returns values as an array; texts have no tensors on some backends."""
    return values if isinstance(values, np.ndarray) else keras.ops.convert_to_numpy(values)


def gives_logits(model: keras.Model, name: str) -> bool:
    """Returns whether the output `name` is logits rather than a softmax.

    Raises:
        InputError: It is neither.
    """
    layer = {layer.name: layer for layer in model.layers}.get(name)
    activation = getattr(layer, "activation", None)
    if activation not in (keras.activations.softmax, keras.activations.linear):
        raise InputError(
            "Outputs must be softmaxes or logits, whose loss and probabilities are known. Use a "
            '`classifier_activation` of "softmax" or None, or `model.compile` with your own loss. '
            f"Received: output {name!r} with activation={getattr(activation, '__name__', activation)}"
        )
    return activation is keras.activations.linear
