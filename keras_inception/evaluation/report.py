"""The report of an evaluation: a folder of tables and pictures, and one HTML file that shows them all."""

import base64
import csv
import io
import platform
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from keras_inception import __version__, evaluation, files
from keras_inception.errors import InputError
from keras_inception.network import cost
from keras_inception.network.blocks import MAIN
from keras_inception.network.views import inference_model
from keras_inception.plots import report as pictures

RESULTS, PER_CLASS, CONFUSION, REPORT = "results.json", "per_class.csv", "confusion.csv", "report.html"
DEPTH_PICTURE, CONFUSION_PICTURE, RELIABILITY_PICTURE, MISTAKES_PICTURE = (
    "depth.png", "confusion.png", "reliability.png", "mistakes.png",
)  # fmt: skip

THUMBNAIL = 160  # pixels
LISTED_CONFUSIONS = 10


def check_free(folder):
    """Refuses a folder that holds something other than an earlier report.

    Raises:
        ValueError: The folder is a file, or holds something else.
    """
    folder = Path(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / REPORT).is_file()):
        raise InputError(
            f"A report needs an empty folder, a new one, or that of an earlier report. Received: {folder}, which "
            f"{'is a file' if folder.is_file() else 'holds something else'}"
        )


def write(folder, models, predictions, *, facts, originals=None, crops=None, top_k=(1, 5)):
    """Writes what models say of labelled images into a folder, in place of an earlier report.

    `results.json`, `per_class.csv`, `confusion.csv`, `depth.png`, `confusion.png`, `reliability.png`, `mistakes.png`
    and `report.html`, which holds all of them in one file that needs neither a network nor a script. Classes,
    confusions and mistakes are those of the main head, or of the first one where there is no main head.

    Args:
        folder: Path of the folder; it is made if it is missing.
        models: The list of models that were evaluated, with a fixed image size.
        predictions: What `evaluation.predict` returned for them.
        facts: Dict of strings: what else a reader should know, such as which images these are.
        originals: The images in the order of `predictions`, with labels, as `evaluation.examples` takes them, for the
            picture of mistakes; None for a report without it.
        crops: How many crops of an image were averaged; None where there were none.
        top_k: Numbers of answers, of which one must be right.

    Returns:
        The names of the files.

    Raises:
        ValueError: The folder holds something else, or a model has no fixed image size.
    """
    check_free(folder)
    folder = Path(folder)
    names = models[0].class_names or [str(index) for index in range(models[0].classes)]
    answering = MAIN if MAIN in predictions.probabilities else next(iter(predictions.probabilities))
    labels, answers = predictions.labels, predictions.probabilities[answering]
    heads = _score_heads(models, predictions, crops, top_k)
    classes = list(zip(names, evaluation.per_class(labels, answers)))
    confusion = evaluation.confusion(labels, answers)
    images = {
        DEPTH_PICTURE: _png(pictures.depth(heads, len(labels))),
        CONFUSION_PICTURE: _png(pictures.confusion(confusion, names)),
        RELIABILITY_PICTURE: _png(pictures.reliability(_calibrations(predictions))),
    }
    mistakes = evaluation.confident_mistakes(labels, answers)
    if originals is not None and len(mistakes):
        captions = [(names[labels[i]], names[answers[i].argmax()], float(answers[i].max())) for i in mistakes]
        images[MISTAKES_PICTURE] = _png(pictures.mistakes(_thumbnails(originals, mistakes), captions))
    facts = {**facts, **_facts(models, crops)}
    html = _template().render(
        facts=facts,
        images=len(labels),
        wrong=int((answers.argmax(axis=1) != labels).sum()),
        crops=crops,
        heads=heads,
        answering=answering,
        classes=classes,
        confusions=_confusions(confusion, names),
        pictures={name: base64.b64encode(image).decode() for name, image in images.items()},
    )

    folder.mkdir(parents=True, exist_ok=True)
    (folder / MISTAKES_PICTURE).unlink(missing_ok=True)  # an earlier report's
    for name, image in images.items():
        (folder / name).write_bytes(image)
    _write_per_class(folder / PER_CLASS, classes)
    _write_csv(folder / CONFUSION, ["class \\ answer", *names], [[name, *row] for name, row in zip(names, confusion)])
    files.write_json(folder / RESULTS, {"images": len(labels), "crops": crops, "heads": heads, "facts": facts})
    with files.written_aside(folder / REPORT) as aside:
        aside.write_text(html, encoding="utf-8")
    return [RESULTS, PER_CLASS, CONFUSION, *images, REPORT]


def multiply_adds(models, head, crops=None):
    """Returns the multiply-adds that an image costs up to a head: of all models and crops together."""
    once = sum(row.multiply_adds for model in models for row in cost.rows(inference_model(model, head)))
    return once * (crops or 1)


def _calibrations(predictions):
    return {head: evaluation.calibration(predictions.labels, rows) for head, rows in predictions.probabilities.items()}


def _score_heads(models, predictions, crops, top_k):
    """Returns all numbers of each head: scores, calibration error, multiply-adds."""
    errors = {head: found.error for head, found in _calibrations(predictions).items()}
    return {
        head: {**scores, "calibration_error": errors[head], "multiply_adds": multiply_adds(models, head, crops)}
        for head, scores in predictions.scores(sorted({1, *top_k})).items()
    }


def _facts(models, crops):
    """Returns what the models themselves say of an evaluation."""
    views = {
        None: "none: each image once, as the network takes it",
        1: "1: the centre",
        10: "10: corners, centre, and their mirrors",
        144: "144: 4 scales, 3 squares of each, 6 crops of each, and their mirrors",
    }
    sizes = ["x".join(map(str, model.input_shape[1:])) for model in models]
    return {
        "Architecture": ", ".join(dict.fromkeys(model.architecture for model in models)),
        "Input of the network": ", ".join(dict.fromkeys(sizes)),
        "Crops": views[crops],
        "Versions": f"keras-inception {__version__}, Keras {keras.__version__} on "
        f"{keras.backend.backend()}, Python {platform.python_version()}",
    }


def _thumbnails(originals, indices):
    """Returns small copies of some of the images, in the order of the indices."""
    wanted, found = set(indices.tolist()), {}
    for index, (image, _) in enumerate(evaluation.examples(originals)):
        if index in wanted:
            pixels = image if image.shape[-1] == 3 else image.mean(axis=-1)
            found[index] = Image.fromarray(np.clip(pixels, 0, 255).astype("uint8"))
            found[index].thumbnail((THUMBNAIL, THUMBNAIL))
    return [found[index] for index in indices.tolist()]


def _confusions(confusion, class_names):
    """Returns the most frequent mistakes: class, answer, how many, and the share of the images of the class."""
    wrong = confusion * ~np.eye(len(confusion), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:LISTED_CONFUSIONS]
    return [
        (class_names[i], class_names[j], int(wrong[i, j]), wrong[i, j] / confusion[i].sum())
        for i, j in zip(*np.unravel_index(order, wrong.shape))
        if wrong[i, j]
    ]


def _png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    return buffer.getvalue()


def _write_per_class(path, classes):
    rows = [[name, *asdict(score).values()] for name, score in classes]
    _write_csv(
        path, ["class", *asdict(classes[0][1])], [["" if cell != cell else cell for cell in row] for row in rows]
    )  # NaN equals nothing


def _write_csv(path, columns, rows):
    with files.written_aside(path) as aside, open(aside, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def _template():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: "–" if np.isnan(share) else f"{share:.2%}"
    return environment.get_template("template.html")
