"""What the probabilities of one head are worth: pure functions of labels `(images,)` and `(images, classes)`.

Each of them refuses, with an `InputError`, probabilities that are not numbers: `argmax` would make the first class of
them, and so a right answer wherever that is the label.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from keras_inception.errors import InputError, shown
from keras_inception.rules import is_whole
from keras_inception.types import Array

# scikit-learn is imported where it is used: it takes a second, and no training needs it.


@dataclass(frozen=True)
class ClassScore:
    """How well one class is told from the others.

    Attributes:
        images: How many images are of the class.
        precision: The share of the images called so that are; NaN if none is called so.
        recall: The share of the images of the class that are called so; NaN if there is none.
        f1: The harmonic mean of both; NaN where neither an image nor an answer is of the class.
    """

    images: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Calibration:
    """Whether answers are right as often as they say: the points of a reliability plot, one for each bin.

    Attributes:
        error: The expected calibration error in [0, 1]: the mean over images of `|accuracy - confidence|` of their bin.
        edges: `(bins + 1,)`, the limits of the bins, each without its lower and with its upper one.
        images: `(bins,)`, how many answers fall into each.
        confidence: `(bins,)`, their mean probability; NaN in an empty bin.
        accuracy: `(bins,)`, the share that is right; NaN in an empty bin.
    """

    error: float
    edges: Array
    images: Array
    confidence: Array
    accuracy: Array


def scores(labels: Array, probabilities: Array, top: Sequence[int] = (1, 5)) -> dict[str, float]:
    """Returns loss and accuracies under the names that `evaluate` gives them.

    Args:
        labels: `(images,)`, integers.
        probabilities: `(images, classes)`.
        top: Numbers of answers, of which one must be right. 1 is `"accuracy"`; those that are not below the number
            of classes are left out, because they are always right. Ties go to the class of the lower index
            (scikit-learn's `top_k_accuracy_score` gives them to the higher one).

    Returns:
        `"loss"`, the mean cross-entropy in nats, `"accuracy"` and `"top_K_accuracy"` in [0, 1].

    Raises:
        InputError: A number of answers is below 1, or a probability is not a number.
    """
    answers_of(probabilities)
    if not isinstance(top, Iterable) or not all(is_whole(k, 1) for k in top):
        raise InputError(f"`top` must hold numbers of answers, each of at least 1. Received: top={shown(top)}")
    of_label = np.take_along_axis(probabilities, labels[:, None], axis=1)
    # Keras's cross-entropy takes no probability for smaller than this either.
    found = {"loss": float(-np.log(np.maximum(of_label, 1e-7)).mean())}
    right = np.argsort(-probabilities, axis=1, kind="stable") == labels[:, None]  # at one place of each row
    for k in top:
        if k < probabilities.shape[1]:
            found["accuracy" if k == 1 else f"top_{k}_accuracy"] = float(right[:, :k].any(axis=1).mean())
    return found


def no_numbers(received: str) -> InputError:
    """Returns the error of answers that are not numbers."""
    return InputError(
        "Answers must be numbers to be counted, and those to an image that holds NaN or infinite values are none, nor "
        f"those that overflow. Leave such images out, or use weights that answer them. Received: {received}"
    )


def answers_of(probabilities: Array) -> Array:
    """Returns the likeliest class of each image, `(images,)`, integers.

    Args:
        probabilities: `(images, classes)`.

    Raises:
        InputError: A probability is not a number.
    """
    wrong = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if len(wrong):
        raise no_numbers(f"not-a-number for {len(wrong)} of {len(probabilities)} images, the first one at {wrong[0]}")
    return probabilities.argmax(axis=1)


def per_class(labels: Array, probabilities: Array) -> list[ClassScore]:
    """Returns the score of each class, counted over the likeliest answers.

    Args:
        labels: `(images,)`, integers.
        probabilities: `(images, classes)`.

    Raises:
        InputError: A probability is not a number.
    """
    from sklearn.metrics import precision_recall_fscore_support

    classes = range(probabilities.shape[1])
    columns = precision_recall_fscore_support(labels, answers_of(probabilities), labels=classes, zero_division=np.nan)
    return [
        ClassScore(int(images), float(precision), float(recall), float(f1))
        for precision, recall, f1, images in zip(*columns)
    ]


def confusion(labels: Array, probabilities: Array) -> Array:
    """Returns how many images of each class, by row, are called each class, by column: `(classes, classes)`.

    Args:
        labels: `(images,)`, integers.
        probabilities: `(images, classes)`.

    Raises:
        InputError: A probability is not a number.
    """
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(labels, answers_of(probabilities), labels=range(probabilities.shape[1]))


def calibration(labels: Array, probabilities: Array, bins: int = 15) -> Calibration:
    """Compares the confidence of the likeliest answers with how often they are right.

    (scikit-learn's `calibration_curve` is for two classes and says neither the empty bins nor how full the others are.)

    Args:
        labels: `(images,)`, integers.
        probabilities: `(images, classes)`.
        bins: The number of bins of equal width between 0 and 1.

    Raises:
        InputError: A probability is not a number.

    Reference: Guo et al., On Calibration of Modern Neural Networks, arXiv:1706.04599, section 2, with its 15 bins.
    """
    right = answers_of(probabilities) == labels
    confidence = probabilities.max(axis=1).astype("float64")
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.searchsorted(edges, confidence) - 1, 0, bins - 1)  # a little more than 1 is rounding
    images = np.bincount(index, minlength=bins)
    images_or_nan = np.where(images, images, np.nan)
    mean_confidence = np.bincount(index, confidence, bins) / images_or_nan
    accuracy = np.bincount(index, right, bins) / images_or_nan
    error = float(np.nansum(images / len(labels) * np.abs(accuracy - mean_confidence)))
    return Calibration(error, edges, images, mean_confidence, accuracy)


def confident_mistakes(labels: Array, probabilities: Array, count: int = 20) -> Array:
    """Returns the indices of the wrong answers of the highest confidence, the highest first.

    Args:
        labels: `(images,)`, integers.
        probabilities: `(images, classes)`.
        count: The most indices to return.

    Raises:
        InputError: A probability is not a number.
    """
    wrong = np.flatnonzero(answers_of(probabilities) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:count]
