"""The gradient that reached each row of Table 1 in the trainings of a study."""

import numpy as np

from keras_inception.study.trainings import HEADS, VARIANTS


def stages(trainings):
    """Returns the number of finished epochs at the start, in the middle and at the end, by these words."""
    measured = sorted({int(row["epoch"]) for training in trainings for row in training.gradients})
    found = {"at the start": measured[0], "in the middle": measured[len(measured) // 2], "at the end": measured[-1]}
    if len(measured) < 3:
        del found["in the middle"]
    return found


def of_variant(trainings, architecture, variant):
    """Returns the trainings of one architecture and variant."""
    return [run for run in trainings if (run.architecture, run.variant) == (architecture, variant)]


def richest(trainings):
    """Returns the variant with the most heads: in it the gradients of all of them are those of a training."""
    return max((run.variant for run in trainings), key=lambda variant: len(VARIANTS[variant]))


def norms(trainings, epoch, *, weighted=False):
    """Returns the norm of the gradient from each head's loss, by row, as the geometric mean over trainings.

    Args:
        trainings: `Training`s of one architecture and variant.
        epoch: After how many epochs it was measured.
        weighted: Whether to multiply by the weight of the head's loss, as the training does.

    Returns:
        A dict by head of dicts by row, the rows of Table 1 in order. A head whose loss weight is 0 is left out: it does
        not learn. A row behind a head's tap has 0.
    """
    found = {}
    for training in trainings:
        for entry in training.gradients:
            weight = float(entry["loss_weight"])
            if int(entry["epoch"]) == epoch and weight and entry["row"] not in HEADS:
                norm = float(entry["gradient_norm"]) * (weight if weighted else 1)
                found.setdefault(entry["head"], {}).setdefault(entry["row"], []).append(norm)
    with np.errstate(divide="ignore"):  # the logarithm of 0
        return {
            head: {row: float(np.exp(np.mean(np.log(values)))) for row, values in rows.items()}
            for head, rows in found.items()
        }
