"""What the probabilities of one head are worth: pure functions of labels `(images,)` and `(images, classes)`."""

from dataclasses import dataclass

import numpy as np

from keras_inception.errors import InputError

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
    edges: np.ndarray
    images: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def scores(labels, probabilities, top_k=(1, 5)):
    """Returns loss and accuracies under the names that `evaluate` gives them.

    Args:
        labels: `(images,)`, integers.
        probabilities: `(images, classes)`.
        top_k: Numbers of answers, of which one must be right. 1 is `"accuracy"`; those that are not below the number of
            classes are left out, because they are always right. Ties go to the class of the lower index.

    Returns:
        A dict of `"loss"`, the mean cross-entropy in nats, `"accuracy"` and `"top_K_accuracy"` in [0, 1].

    Raises:
        ValueError: A number of answers is below 1.
    """
    if min(top_k, default=1) < 1:
        raise InputError(f"`top_k` must be numbers of answers of at least 1. Received: top_k={tuple(top_k)}")
    of_label = np.take_along_axis(probabilities, labels[:, None], axis=1)
    lower = np.arange(probabilities.shape[1]) < labels[:, None]
    rank = ((probabilities > of_label) | ((probabilities == of_label) & lower)).sum(axis=1)
    # Keras's cross-entropy takes no probability for smaller than this either.
    found = {"loss": float(-np.log(np.maximum(of_label, 1e-7)).mean())}
    for k in top_k:
        if k < probabilities.shape[1]:
            found["accuracy" if k == 1 else f"top_{k}_accuracy"] = float((rank < k).mean())
    return found


def per_class(labels, probabilities):
    """Returns a list of `ClassScore`, one for each class, of the likeliest answers."""
    from sklearn.metrics import precision_recall_fscore_support

    classes = range(probabilities.shape[1])
    columns = precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), labels=classes, zero_division=np.nan
    )
    return [
        ClassScore(int(images), float(precision), float(recall), float(f1))
        for precision, recall, f1, images in zip(*columns)
    ]


def confusion(labels, probabilities):
    """Returns how many images of each class, by row, are called each class, by column: `(classes, classes)`."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(labels, probabilities.argmax(axis=1), labels=range(probabilities.shape[1]))


def calibration(labels, probabilities, bins=15):
    """Compares how sure the likeliest answers are with how often they are right.

    Args:
        labels: `(images,)`, integers.
        probabilities: `(images, classes)`.
        bins: The number of bins of equal width between 0 and 1.

    Returns:
        A `Calibration`.

    Reference: Guo et al., On Calibration of Modern Neural Networks, arXiv:1706.04599, section 2, with its 15 bins.
    """
    sureness = probabilities.max(axis=1).astype("float64")
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.searchsorted(edges, sureness) - 1, 0, bins - 1)  # a little more than 1 is rounding
    images = np.bincount(index, minlength=bins)
    share = images / len(labels)
    images_or_nan = np.where(images, images, np.nan)
    confidence = np.bincount(index, sureness, bins) / images_or_nan
    accuracy = np.bincount(index, right, bins) / images_or_nan
    error = float(np.nansum(share * np.abs(accuracy - confidence)))
    return Calibration(error, edges, images, confidence, accuracy)


def confident_mistakes(labels, probabilities, count=20):
    """Returns the indices of the images whose wrong answers are the surest, the surest first, at most `count`."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:count]
