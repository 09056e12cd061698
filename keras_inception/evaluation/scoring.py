"""Models on labelled images: the scores of their heads, from one view of each image or from many crops."""

from dataclasses import dataclass

import keras
import numpy as np
from scipy.special import softmax

from keras_inception import architectures
from keras_inception.errors import InputError
from keras_inception.evaluation import cropping, measures
from keras_inception.network.losses import logs_by_head
from keras_inception.network.model import gives_logits
from keras_inception.network.preprocess import preprocess_input


@dataclass(frozen=True)
class Predictions:
    """What models say of labelled images, in the order of the images.

    Attributes:
        labels: `(images,)`, int64.
        probabilities: By head, `(images, classes)`, float32: the softmaxes, averaged over crops and models.
    """

    labels: np.ndarray
    probabilities: dict[str, np.ndarray]

    def scores(self, top_k=(1, 5)):
        """Returns a dict by head of what `measures.scores` counts: loss and accuracies."""
        return {head: measures.scores(self.labels, rows, top_k) for head, rows in self.probabilities.items()}


def evaluate(model, data, *, crops=None, top_k=None, batch_size=64, verbose=0):
    """Scores every head of a model, or of an ensemble of models, on labelled images.

    Args:
        model: A compiled `InceptionModel`, or a list of models whose softmaxes are averaged.
        data: What `model.evaluate` takes as `x`: batches of `(image, label)`, preprocessed; with `crops` the original
            images. See `predict`.
        crops: How many crops of each image to average, 1, 10 or 144; by default the images are taken as they are.
        top_k: Numbers of answers, of which one must be right, such as `(1, 3, 5)`; by default 1, and 5 from 6 classes
            up.
        batch_size: The most crops to compute at once.
        verbose: Keras's: 0 is silent, 1 shows a progress bar.

    Returns:
        A dict by output name; of each head the dict `{"loss", "accuracy", "top_5_accuracy"}`, the last one from 6
        classes up. Accuracies are fractions in [0, 1].

    Raises:
        ValueError: As `predict` and `measures.scores`.
    """
    if not isinstance(model, (list, tuple)) and crops is None and top_k is None:
        logs = model.evaluate(data, return_dict=True, verbose=verbose)
        return logs_by_head(logs, model.output_names)
    predictions = predict(model, data, crops=crops, batch_size=batch_size, verbose=verbose)
    return predictions.scores() if top_k is None else predictions.scores(top_k)


def predict(model, data, *, crops=None, batch_size=64, verbose=0):
    """Runs the heads of a model, or of an ensemble of models, on labelled images.

    Of the images it keeps nothing but the labels and the averaged probabilities: memory grows with neither the number
    of crops nor, but for those, the number of images. The heads are those that all models have.

    Args:
        model: An `InceptionModel`, or a list of them with the same classes.
        data: Without `crops`, batches of `(image, label)` of preprocessed images, such as a `tf.data.Dataset`. With
            `crops`, pairs `(image, label)` of original images `(height, width, channels)` of any size in [0, 255], one
            by one; batches of images of one size, and a pair of arrays, serve too. One channel is repeated where the
            network wants more. Labels are integers or one-hot.
        crops: How many crops of each image to average, 1, 10 or 144, see `crops`; each model gets them at its own size
            and with its own preprocessing.
        batch_size: The most crops to compute at once.
        verbose: 1 shows a progress bar, 0 does not.

    Returns:
        The `Predictions`.

    Raises:
        ValueError: There is no such number of crops, no image or no such model, or images or labels do not fit it.
    """
    models = list(model) if isinstance(model, (list, tuple)) else [model]
    names = _common_heads(models)
    _check_same_classes(models)
    if batch_size < 1:
        raise InputError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}")
    if crops is None:
        members = [_Uncropped(model, names, batch_size) for model in models]
        parts = ((images, np.asarray(labels)) for images, labels in _pairs(data))
    else:
        members = [_Cropped(model, names, batch_size, crops) for model in models]
        parts = ((image, np.asarray(label)[None]) for image, label in examples(data))
    progress = keras.utils.Progbar(None, verbose=verbose, unit_name="image")
    labels, count = [], 0
    for images, part in parts:
        for member in members:
            member.add(images)
        labels.append(class_indices(part, models[0].classes))
        count += len(part)
        progress.update(count)
    if not count:
        raise InputError("A model is scored on labelled images, and there are none. Received: empty `data`")
    progress.update(count, finalize=True)
    found = [member.finish() for member in members]
    averaged = {name: np.mean([probabilities[name] for probabilities in found], axis=0) for name in names}
    return Predictions(np.concatenate(labels), {name: rows.astype("float32") for name, rows in averaged.items()})


def examples(data):
    """Yields pairs of one image and its label from such pairs, from batches of images, or from a pair of arrays."""
    for image, label in _pairs(data):
        if np.ndim(image) == 4:
            yield from zip(np.asarray(image), np.asarray(label))
        else:
            yield np.asarray(image), np.asarray(label)


class _Uncropped:
    """One model that sees preprocessed images as they are."""

    def __init__(self, model, names, batch_size):
        self._model, self._names, self._batch_size = model, names, batch_size
        self._rows = {name: [] for name in names}

    def add(self, images):
        """Takes a batch of images `(batch, ...)`."""
        for start in range(0, len(images), self._batch_size):
            for name, rows in _softmaxes(self._model, self._names, images[start : start + self._batch_size]).items():
                self._rows[name].extend(rows)

    def finish(self):
        """Returns the probabilities `(images, classes)` by head, float64."""
        return {name: np.stack(rows) for name, rows in self._rows.items()}


class _Cropped(_Uncropped):
    """One model that sees crops of original images, in batches that do not end where an image does."""

    def __init__(self, model, names, batch_size, crops):
        super().__init__(model, names, batch_size)
        cropping.check_crops(crops)
        self._crops, self._image_size, self._channels = crops, *_image_size(model)
        self._waiting = []
        self._sums, self._summed = dict.fromkeys(names, 0.0), 0

    def add(self, image):
        """Takes one original image `(height, width, channels)`."""
        if image.ndim == 3 and image.shape[-1] == 1:
            image = np.repeat(image, self._channels, axis=-1)
        if image.ndim == 3 and image.shape[-1] != self._channels:
            raise InputError(
                f"Images must have the {self._channels} channels that the network sees, or one, which is repeated. "
                f"Received: image.shape={image.shape}"
            )
        for crop in cropping.each(image, self._crops, self._image_size):
            self._waiting.append(crop)
            if len(self._waiting) == self._batch_size:
                self._run()

    def finish(self):
        if self._waiting:
            self._run()
        return super().finish()

    def _run(self):
        x = preprocess_input(np.stack(self._waiting), "channels_last", preprocessing=self._model.preprocessing)
        self._waiting = []
        if keras.config.image_data_format() == "channels_first":
            x = np.moveaxis(x, -1, 1)
        found = _softmaxes(self._model, self._names, x)
        for index in range(len(x)):
            self._sums = {name: self._sums[name] + found[name][index] for name in self._names}
            self._summed += 1
            if self._summed == self._crops:
                for name in self._names:
                    self._rows[name].append(self._sums[name] / self._crops)
                self._sums, self._summed = dict.fromkeys(self._names, 0.0), 0


def _softmaxes(model, names, images):
    """Returns the probabilities of some heads for preprocessed images: `(batch, classes)` by name, float64."""
    outputs = model.predict_on_batch(images)
    outputs = dict(zip(model.output_names, outputs if isinstance(outputs, list) else [outputs]))
    rows = {name: np.asarray(outputs[name], "float64") for name in names}
    return {name: softmax(rows[name], axis=1) if gives_logits(model, name) else rows[name] for name in names}


def _pairs(data):
    """Yields pairs from a pair of arrays, which is one, or from whatever gives pairs."""
    is_pair = isinstance(data, (tuple, list)) and len(data) == 2 and all(hasattr(part, "shape") for part in data)
    for pair in [data] if is_pair else data:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InputError(f"`data` must give pairs of image and label. Received: {type(pair).__name__}")
        yield pair


def class_indices(labels, classes):
    """Returns labels as integers `(batch,)`, whichever form they came in."""
    if labels.ndim == 2 and labels.shape[1] == classes:
        return labels.argmax(axis=1)
    labels = labels.reshape(len(labels)).astype("int64")
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise InputError(
            f"Labels must be integers from 0 to {classes - 1}, or one-hot, for a model of {classes} classes. "
            f"Received: labels from {labels.min()} to {labels.max()}"
        )
    return labels


def _common_heads(models):
    """Returns the names of the outputs that all models have, in the order of the first one's."""
    if not models:
        raise InputError("An ensemble must have at least one model. Received: an empty list")
    names = [name for name in models[0].output_names if all(name in model.output_names for model in models)]
    if not names:
        raise InputError(
            "The models of an ensemble must have a head in common, by which their softmaxes are averaged. "
            f"Received: outputs {[list(model.output_names) for model in models]}"
        )
    return names


def _check_same_classes(models):
    counts = [model.classes for model in models]
    names = {tuple(model.class_names) for model in models if model.class_names is not None}
    if len(set(counts)) > 1 or len(names) > 1:
        raise InputError(
            "The models of an ensemble must have the same classes in the same order. "
            f"Received: models of {counts} classes" + (", called differently" if len(names) > 1 else "")
        )


def _image_size(model):
    """Returns the side of a network's square input in pixels, and its channels."""
    shape = tuple(model.input_shape[1:])
    if keras.config.image_data_format() == "channels_first":
        shape = (*shape[1:], shape[0])
    height, width, channels = shape
    if height is None and width is None:
        return architectures.of(model).image_size, channels
    if height != width:
        raise InputError(
            f"Crops are squares, and so must the network's input be. Received: a model with input_shape={shape}"
        )
    return height, channels
