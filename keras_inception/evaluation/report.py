"""The report of an evaluation: a folder of tables and plots, and one HTML file that shows them all."""

import base64
import io
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
import keras
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from keras_inception import __version__, architectures, evaluation, files
from keras_inception.errors import InputError
from keras_inception.network.blocks import MAIN
from keras_inception.network.model import InceptionModel, check_model
from keras_inception.plots import evaluation as plots
from keras_inception.types import Array, PathLike

REPORT, MISTAKES, SUSPICIOUS = "report.html", "mistakes.png", "suspicious_labels.png"
THUMBNAIL: int = 160  # pixels
LISTED_CONFUSIONS: int = 10


def check_place(folder: PathLike) -> None:
    """Refuses a folder that holds something other than an earlier report.

    Raises:
        InputError: The folder is a file, or holds something else.
    """
    folder = files.named(folder, "folder")
    file = next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)
    if file or (folder.is_dir() and any(folder.iterdir()) and not (folder / REPORT).is_file()):
        raise InputError(
            f"A report needs an empty folder, a new one, or that of an earlier report. Received: {folder}, "
            + (f"of which {file} is a file" if file else "which holds something else")
        )


def write(
    folder: PathLike,
    models: Sequence[InceptionModel],
    predictions: evaluation.Predictions,
    *,
    facts: Mapping[str, str],
    originals: Any,
    crops: int | None = None,
    top: Sequence[int] = (1, 5),
    training: tuple[evaluation.Predictions, Any] | None = None,
) -> list[str]:
    """Writes what models say of labelled images into a folder, in place of an earlier report.

    `report.html` shows all that the tables and plots beside it hold, without a network or a script. Classes, confusions
    and mistakes are those of the main head, or of the first one where there is no main head.

    Args:
        folder: Path of the folder; it is made if it is missing.
        models: The models that were evaluated, with a fixed image size.
        predictions: What `evaluation.predict` returned for them.
        facts: What else a reader should know, such as which images these are.
        originals: The images in the order of `predictions`, with labels, as `evaluation.one_by_one` takes them.
        crops: How many crops of an image were averaged; None where there were none.
        top: Numbers of answers, of which one must be right.
        training: Predictions of the training images, and these images as `originals`: those on which another class is
            answered with the highest confidence may be labelled wrongly, and are shown.

    Returns:
        The names of the files.

    Raises:
        InputError: The folder holds something else, or a model has no fixed image size.
    """
    check_place(folder)
    for model in models:
        check_model(model)
    folder = Path(folder)
    names = _told_apart(models[0].class_labels)
    answering = MAIN if MAIN in predictions.probabilities else next(iter(predictions.probabilities))
    labels, answers = predictions.labels, predictions.probabilities[answering]
    calibrations = {head: evaluation.calibration(labels, rows) for head, rows in predictions.probabilities.items()}
    heads = predictions.scores(sorted({1, *top}))
    for head, scores in heads.items():
        scores |= {"calibration_error": calibrations[head].error}
        scores |= {"multiply_adds": evaluation.multiply_adds(models, [head], crops)}
    classes = dict(zip(names, evaluation.per_class(labels, answers)))
    confusion = evaluation.confusion(labels, answers)
    images = {
        "depth.png": _png(plots.depth(heads, len(labels))),
        "confusion.png": _png(plots.confusion_matrix(confusion, names)),
        "reliability.png": _png(plots.reliability(calibrations)),
    }
    for name, pair in ((MISTAKES, (predictions, originals)), (SUSPICIOUS, training)):
        if pair is not None and (image := sheet(*pair, names, answering)):
            images[name] = image
    facts = {**facts, **_facts(models, crops)}
    html = _template().render(
        facts=facts,
        images=len(labels),
        wrong=len(labels) - int(np.trace(confusion)),
        crops=crops,
        training=None if training is None else len(training[0].labels),
        heads=heads,
        answering=answering,
        tables=_tables(heads, classes, confusion),
        plots={name: base64.b64encode(image).decode() for name, image in images.items()},
    )

    files.make_folder(folder)
    with files.writing(folder):
        for name in (MISTAKES, SUSPICIOUS):
            (folder / name).unlink(missing_ok=True)  # an earlier report's
    for name, image in images.items():
        with files.written_aside(folder / name) as aside:
            aside.write_bytes(image)
    scored = [{"class": name, **asdict(score)} for name, score in classes.items()]
    counts = [{"class \\ answer": name, **dict(zip(names, row))} for name, row in zip(names, confusion)]
    for table, rows in (("per_class.csv", scored), ("confusion.csv", counts)):
        files.write_table(folder / table, rows)
    files.write_json(folder / "results.json", {"images": len(labels), "crops": crops, "heads": heads, "facts": facts})
    with files.written_aside(folder / REPORT) as aside:
        aside.write_text(html, encoding="utf-8")
    return ["results.json", "per_class.csv", "confusion.csv", *images, REPORT]


def _told_apart(names: Sequence[str]) -> list[str]:
    """Returns the names of classes, with their index where two have one name, as ImageNet's cranes do."""
    counts = Counter(names)
    return [name if counts[name] == 1 else f"{name} ({index})" for index, name in enumerate(names)]


def _facts(models: Sequence[InceptionModel], crops: int | None) -> dict[str, str]:
    """Returns what the models themselves say of an evaluation."""
    sizes = ["x".join(map(str, model.input_shape[1:])) for model in models]
    return {
        "Architecture": ", ".join(dict.fromkeys(architectures.of(model).name for model in models)),
        "Input of the network": ", ".join(dict.fromkeys(sizes)),
        "Crops of each image": str(crops or "none, it is taken as the network takes it"),
        "Versions": f"keras-inception {__version__}, Keras {keras.__version__} on "
        f"{keras.backend.backend()}, Python {platform.python_version()}",
    }


def sheet(predictions: evaluation.Predictions, originals: Any, names: Sequence[str], head: str = MAIN) -> bytes | None:
    """Returns the plot of the most confident mistakes of a head as a PNG file; None if there are none.

    Args:
        predictions: What `evaluation.predict` returned.
        originals: The images in that order, with labels, as `evaluation.one_by_one` takes them.
        names: The names of the classes.
        head: The name of the head.
    """
    labels, answers = predictions.labels, predictions.probabilities[head]
    mistakes = evaluation.confident_mistakes(labels, answers)
    if not len(mistakes):
        return None
    captions = [(names[labels[i]], names[answers[i].argmax()], float(answers[i].max())) for i in mistakes]
    return _png(plots.mistakes(thumbnails(originals, mistakes), captions))


def thumbnails(originals: Any, indices: Array) -> list[Image.Image]:
    """Returns small copies of some images, in the order of the indices.

    Args:
        originals: Labelled images, as `evaluation.one_by_one` takes them.
        indices: `(count,)`, whole numbers.
    """
    wanted, found = set(indices.tolist()), {}
    for index, (image, _) in enumerate(evaluation.one_by_one(originals)):
        if index in wanted:
            pixels = image if image.shape[-1] == 3 else image.mean(axis=-1)
            found[index] = Image.fromarray(np.clip(pixels, 0, 255).astype("uint8"))
            found[index].thumbnail((THUMBNAIL, THUMBNAIL))
    return [found[index] for index in indices.tolist()]


def _tables(
    heads: Mapping[str, Mapping[str, Any]], classes: Mapping[str, evaluation.ClassScore], confusion: Array
) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Returns the columns and rows of the page's tables, as they are shown."""
    accuracies = [key for key in next(iter(heads.values())) if "accuracy" in key]
    tops = ["Top-1" if key == "accuracy" else f"Top-{key.split('_')[1]}" for key in accuracies]
    scores = [
        [head, *(_percent(found[key]) for key in accuracies), f"{found['loss']:.4f}",
         _percent(found["calibration_error"]), f"{found['multiply_adds'] / 1e6:,.1f}M"]
        for head, found in heads.items()
    ]  # fmt: skip
    of_classes = [
        [name, f"{row.images:,}", _percent(row.precision), _percent(row.recall), _percent(row.f1)]
        for name, row in classes.items()
    ]
    names = list(classes)
    wrong = confusion * ~np.eye(len(confusion), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:LISTED_CONFUSIONS]  # the most frequent ones
    confusions = [
        [names[i], names[j], f"{wrong[i, j]:,}", _percent(wrong[i, j] / confusion[i].sum())]
        for i, j in zip(*np.unravel_index(order, wrong.shape))
        if wrong[i, j]
    ]
    return {
        "heads": (["Head", *tops, "Loss", "Calibration error", "Multiply-adds of an image"], scores),
        "classes": (["Class", "Images", "Precision", "Recall", "F1"], of_classes),
        "confusions": (["Class", "Called", "Images", "Of the class"], confusions),
    }


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{share:.2%}"


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    return buffer.getvalue()


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    return environment.get_template("template.html")
