"""What a finished run has: its tables and plots, the model, some images to predict on, and its results."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np

from keras_inception import evaluation, files, plots
from keras_inception.data import Data
from keras_inception.evaluation.report import sheet
from keras_inception.network.blocks import MAIN
from keras_inception.network.model import InceptionModel
from keras_inception.network.preprocess import undo_preprocessing
from keras_inception.plots.gradients import of_table
from keras_inception.training import runs
from keras_inception.training.checkpoint import Progress

SAMPLE_COUNT: int = 8
MOST_LOOKED_AT: int = 2000  # training images, for those whose labels may be wrong


def write(
    folder: Path,
    model: InceptionModel,
    data: Data,
    progress: Progress,
    results: Mapping[str, Mapping[str, float]],
    *,
    look_at_labels: bool = True,
    report: Callable[[str], None] = lambda message: None,
) -> None:
    """Writes what a finished run has, its results last: they tell that it is finished.

    Args:
        folder: The run's.
        model: The trained model.
        data: What it was trained on.
        progress: What it went through.
        results: Loss and accuracies on the test images by head.
        look_at_labels: Whether training images whose labels may be wrong are looked for.
        report: Called with why there is no plot of these.
    """
    history = progress.history
    files.write_table(folder / runs.HISTORY, history)
    columns = {name: [row[name] for row in history] for name in history[0] if name != "epoch"}
    with files.written_aside(folder / runs.CURVES) as aside:
        plots.curves(columns, model.output_names).savefig(aside, dpi=120)
    _draw_gradients(folder)
    runs.save_model(model, folder)
    _write_samples(folder, model, data)
    if look_at_labels:
        _write_suspicious(folder, model, data, report)
    found = {"test": results, "best": progress.best, "sizes": data.sizes, "skipped": data.skipped}
    files.write_json(folder / runs.RESULTS, found)


def _draw_gradients(folder: Path) -> None:
    """Draws the gradient at each row's output before and after the training, where it was measured."""
    path = folder / runs.GRADIENTS
    panels = of_table(files.read_table(path, ("epoch", "loss_weight"))) if path.is_file() else {}
    if any(panels.values()):
        with files.written_aside(folder / runs.GRADIENTS_PLOT) as aside:
            plots.gradient_flow(panels, len(panels)).savefig(aside, dpi=120)


def _write_samples(folder: Path, model: InceptionModel, data: Data) -> None:
    """Writes some images that were not trained on, for a first prediction; the class stands in the file's name."""
    batches = data.validation if data.test is None else data.test
    if batches is None:
        return
    samples = folder / runs.SAMPLES
    files.make_folder(samples)
    encoding = sys.getfilesystemencoding()
    images, labels = next(iter(batches.take(1)))
    pixels = undo_preprocessing(images.numpy()[:SAMPLE_COUNT], preprocessing=model.preprocessing)
    for index, (image, label) in enumerate(zip(pixels, labels.numpy())):
        # A file system of ASCII cannot name all classes.
        nameable = data.class_names[label].encode(encoding, "replace").decode(encoding)
        name = "".join(c if c.isalnum() or c in "-_" else "_" for c in nameable)[:50]  # at most 200 bytes
        with files.written_aside(samples / f"{index + 1}-{name}.png") as aside:
            keras.utils.save_img(aside, np.clip(np.round(image), 0, 255), scale=False)


def _write_suspicious(folder: Path, model: InceptionModel, data: Data, report: Callable[[str], None]) -> None:
    """Draws the training images that are called otherwise with the highest confidence, of some at most.

    A network that has not learned contradicts right labels: it must be right on more than half of what the most
    frequent class leaves over.
    """
    inputs, originals = data.some("train", MOST_LOOKED_AT)
    predictions = evaluation.predict(model, inputs)
    right = float(np.mean(predictions.probabilities[MAIN].argmax(axis=-1) == predictions.labels))
    most_frequent = np.bincount(predictions.labels).max() / len(predictions.labels)
    learned = right > (1 + most_frequent) / 2
    if not learned:
        report(
            f"{runs.SUSPICIOUS} is left out: the network is right on {right:.1%} of the training images, of which the "
            f"most frequent class has {most_frequent:.1%}: it has not learned enough to judge labels"
        )
    image = sheet(predictions, originals, data.class_names) if learned else None
    if image is None:
        (folder / runs.SUSPICIOUS).unlink(missing_ok=True)
    else:
        with files.written_aside(folder / runs.SUSPICIOUS) as aside:
            aside.write_bytes(image)
