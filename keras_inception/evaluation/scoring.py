"""Models on labelled images: the scores of their heads, from one view of each image or from many crops."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import keras
import numpy as np
from scipy.special import softmax

from keras_inception import architectures
from keras_inception.errors import InputError, shown
from keras_inception.evaluation import cropping, measures
from keras_inception.network import cost
from keras_inception.network.checks import check_finite, check_images, check_input, gives_logits
from keras_inception.network.labels import check_labels
from keras_inception.network.logs import logs_by_head
from keras_inception.network.model import InceptionModel, check_model
from keras_inception.network.preprocess import preprocess_input
from keras_inception.types import Array


@dataclass(frozen=True)
class Predictions:
    """What models say of labelled images, in the order of the images.

    Attributes:
        labels: `(images,)`, int64.
        probabilities: By head, `(images, classes)`, float32: the softmaxes, averaged over crops and models.
    """

    labels: Array
    probabilities: dict[str, Array]

    def scores(self, top: Sequence[int] = (1, 5), *, average: bool = False) -> dict[str, dict[str, float]]:
        """Returns by head what `measures.scores` counts: loss and accuracies.

        Args:
            top: Numbers of answers, of which one must be right.
            average: Whether to score, where there are several heads, the average of their softmaxes too, as
                `"average"`.
        """
        rows = dict(self.probabilities)
        if average and len(rows) > 1:
            rows[architectures.AVERAGE] = np.mean(list(rows.values()), axis=0)
        return {name: measures.scores(self.labels, each, top) for name, each in rows.items()}


def evaluate(
    model: InceptionModel | Sequence[InceptionModel],
    examples: Any,
    *,
    crops: int | None = None,
    top: Sequence[int] | None = None,
    batch_size: int = 64,
    verbose: int = 0,
) -> dict[str, dict[str, float]]:
    """Scores every head of a model, or of an ensemble of models, on labelled images.

    Args:
        model: A model, or a list of models whose softmaxes are averaged.
        examples: What `model.evaluate` takes as `x`: batches of `(image, label)`, preprocessed; with `crops` the
            original images. See `predict`.
        crops: How many crops of each image to average, 1, 10 or 144; by default the images are taken as they are.
        top: Numbers of answers, of which one must be right, such as `(1, 3, 5)`; by default 1, and 5 from 6 classes
            up.
        batch_size: The most crops to compute at once.
        verbose: Keras's: 0 is silent, 1 shows a progress bar.

    Returns:
        By output name, `{"loss", "accuracy", "top_5_accuracy"}`, the last one from 6 classes up, and of several heads
        the same as `"average"` for the average of their softmaxes. Accuracies are fractions in [0, 1].

    Raises:
        InputError: As `predict` and `measures.scores`.
    """
    predictions = predict(model, examples, crops=crops, batch_size=batch_size, verbose=verbose)
    return predictions.scores((1, 5) if top is None else top, average=True)


def evaluate_compiled(model: InceptionModel, examples: Any) -> dict[str, dict[str, float]]:
    """Returns by head the loss and the metrics that a model was compiled with, computed by all of its replicas.

    Args:
        model: A compiled model.
        examples: Batches of `(image, label)`.

    Raises:
        InputError: A weight or the loss is not finite.
    """
    check_finite(model)
    logs = model.evaluate(examples, return_dict=True, verbose=0)
    if not np.isfinite(logs["loss"]):
        raise measures.no_numbers(f"a loss of {logs['loss']}")
    return logs_by_head(logs, model.output_names)


def multiply_adds(models: Sequence[InceptionModel], heads: Sequence[str], crops: int | None = None) -> int:
    """Returns what an image costs: the multiply-adds of some heads of all models, on all its crops.

    Args:
        models: Models with a fixed image size that have these heads.
        heads: Names of heads.
        crops: How many crops of an image are taken; None for none.

    Raises:
        InputError: A model has no fixed image size.
    """
    return sum(cost.of_heads(model, heads) for model in models) * (crops or 1)


def predict(
    model: InceptionModel | Sequence[InceptionModel],
    examples: Any,
    *,
    crops: int | None = None,
    batch_size: int = 64,
    verbose: int = 0,
) -> Predictions:
    """Runs the heads of a model, or of an ensemble of models, on labelled images.

    Memory grows with neither the number of crops nor, but for labels and averaged probabilities, the number of images.
    The heads are those that all models have.

    Args:
        model: A model, or a list of them with the same classes.
        examples: Pairs `(image, label)`, one by one or in batches, such as a `tf.data.Dataset`; or a pair of arrays.
            Without `crops` the images are preprocessed. With `crops` they are originals `(height, width, channels)` of
            any size in [0, 255]; one channel is repeated where the network wants more. Labels are integers or one-hot.
        crops: How many crops of each image to average, 1, 10 or 144, see `crops`; each model gets them at its own size
            and with its own preprocessing.
        batch_size: The most images or crops to compute at once.
        verbose: 1 shows a progress bar, 0 does not.

    Raises:
        InputError: There is no such number of crops, no image or no such model, or images or labels do not fit it.
    """
    members: Any = model if isinstance(model, (list, tuple)) else [model]
    models: list[InceptionModel] = list(members)
    for member in models:
        check_model(member)
        check_finite(member)
    names = _common_heads(models)
    if batch_size < 1:
        raise InputError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}")
    if crops is not None:
        cropping.check_crops(crops)
    progress = keras.utils.Progbar(None, verbose=verbose, unit_name="image")
    labels: list[Array] = []
    averaged: list[Array] = []
    pairs = one_by_one(examples)
    while chunk := list(islice(pairs, max(1, batch_size // (crops or 1)))):
        images = [image for image, _ in chunk]
        if crops is None and not labels:
            check_images(np.stack(images))
            for member in models:
                member.look_at(np.stack(images))
        labels += [class_indices(label[None], models[0].classes) for _, label in chunk]
        averaged.append(np.mean([_softmaxes(model, names, images, crops, batch_size) for model in models], axis=0))
        if len(wrong := np.flatnonzero(~np.isfinite(averaged[-1]).all(axis=(1, 2)))):
            raise measures.no_numbers(f"not-a-number for image {len(labels) - len(images) + wrong[0]}")
        progress.update(len(labels))
    if not labels:
        raise InputError("A model is scored on labelled images, and there are none. Received: empty `examples`")
    progress.update(len(labels), finalize=True)
    rows = np.concatenate(averaged).astype("float32")
    return Predictions(np.concatenate(labels), {name: rows[:, index] for index, name in enumerate(names)})


def one_by_one(examples: Any) -> Iterator[tuple[Array, Array]]:
    """Yields pairs of one image, `(height, width, channels)`, and its label.

    Args:
        examples: Such pairs, pairs of a batch of images and their labels, or one pair of arrays.

    Raises:
        InputError: There are other things than pairs, or not one label for each image.
    """
    try:
        pairs = iter([examples] if _is_pair_of_arrays(examples) else examples)
    except TypeError as error:
        raise InputError(f"`examples` must be pairs of image and label. Received: {shown(examples)}") from error
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InputError(f"`examples` must give pairs of image and label. Received: {type(pair).__name__}")
        image, label = map(np.asarray, pair)
        if image.ndim == 4:
            if len(image) != len(label):
                raise InputError(
                    f"There must be one label for each image. Received: {len(image)} images, {len(label)} labels"
                )
            yield from zip(image, label)
        else:
            yield image, label


def _is_pair_of_arrays(examples: Any) -> bool:
    return isinstance(examples, (tuple, list)) and len(examples) == 2 and all(hasattr(x, "shape") for x in examples)


def class_indices(labels: Array, classes: int) -> Array:
    """Returns labels, integers or one-hot, as integers `(batch,)`.

    Args:
        labels: `(batch,)` or `(batch, 1)`, integers, or `(batch, classes)`, one-hot.
        classes: The number of classes.

    Raises:
        InputError: A label names no class.
    """
    check_labels(labels, classes)
    if labels.ndim == 2 and labels.shape[1] == classes:
        return labels.argmax(axis=1)
    return labels.reshape(-1).astype("int64")


def _softmaxes(
    model: InceptionModel, names: Sequence[str], images: Sequence[Array], crops: int | None, batch_size: int
) -> Array:
    """Returns what the heads of one model say of some images, `(images, heads, classes)`, float64."""
    views = iter(images) if crops is None else _crops(model, images, crops)
    rows = []
    while batch := list(islice(views, batch_size)):
        shapes = {view.shape for view in batch}
        if len(shapes) > 1:
            raise InputError(f"Without `crops` the images must have one shape. Received: {sorted(shapes)}")
        x = np.stack(batch)
        check_input(model, x)
        outputs = model.predict_on_batch(x)
        of_heads = dict(zip(model.output_names, outputs if isinstance(outputs, list) else [outputs]))
        heads = [(np.asarray(of_heads[name], "float64"), gives_logits(model, name)) for name in names]
        rows.append(np.stack([softmax(x, axis=1) if are_logits else x for x, are_logits in heads], axis=1))
    found = np.concatenate(rows)  # (images * crops, heads, classes)
    return found.reshape(len(images), -1, *found.shape[1:]).mean(axis=1)


def _crops(model: InceptionModel, images: Sequence[Array], crops: int) -> Iterator[Array]:
    """Yields the crops of images, one after the other, as the model takes them."""
    size, channels = _image_size(model)
    for image in images:
        if image.ndim == 3 and image.shape[-1] == 1:
            image = np.repeat(image, channels, axis=-1)
        if image.ndim == 3 and image.shape[-1] != channels:
            raise InputError(
                f"Images must have the {channels} channels that the network sees, or one, which is repeated. "
                f"Received: image.shape={image.shape}"
            )
        for crop in cropping.each(image, crops, size):
            crop = preprocess_input(crop, "channels_last", preprocessing=model.preprocessing)
            yield np.moveaxis(crop, -1, 0) if keras.config.image_data_format() == "channels_first" else crop


def _common_heads(models: list[InceptionModel]) -> list[str]:
    """Returns the outputs that all models have, in the order of the first one's; refuses models of other classes."""
    if not models:
        raise InputError("An ensemble must have at least one model. Received: an empty list")
    counts = [model.classes for model in models]
    called = {tuple(model.class_names) for model in models if model.class_names is not None}
    if len(set(counts)) > 1 or len(called) > 1:
        raise InputError(
            "The models of an ensemble must have the same classes in the same order. "
            f"Received: models of {counts} classes" + (", called differently" if len(called) > 1 else "")
        )
    names = [name for name in models[0].output_names if all(name in model.output_names for model in models)]
    if not names:
        raise InputError(
            "The models of an ensemble must have a head in common, by which their softmaxes are averaged. "
            f"Received: outputs {[list(model.output_names) for model in models]}"
        )
    return names


def _image_size(model: InceptionModel) -> tuple[int, int]:
    """Returns the side of a network's square input in pixels, and its channels."""
    shape = tuple(model.input_shape[1:])
    first = keras.config.image_data_format() == "channels_first"
    height, width, channels = (*shape[1:], shape[0]) if first else shape
    if height is None and width is None:
        return architectures.of(model).image_size, channels
    if height != width:
        raise InputError(
            f"Crops are squares, and so must the network's input be. Received: a model with input_shape={shape}"
        )
    return height, channels
