"""Training from a configuration to a run folder."""

import csv
import importlib.util
import os
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path

import keras
import numpy as np

from keras_inception import architectures, data, diagnosis, distribute, evaluation, figures, recipe, runs
from keras_inception.model import GoogLeNet, compile_model
from keras_inception.preprocess import undo_preprocessing
from keras_inception.weights import freeze, source_of


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a training; every field is an option of `keras-inception train`.

    Attributes:
        dataset: `"digits"`, a folder of class folders, or the name of a TFDS dataset.
        architecture: The network; see `architectures.py`.
        aux_heads: Whether to train with the auxiliary heads.
        image_size: Height and width of the network's input in pixels; by default chosen from the images.
        epochs: Passes over the training images, at least 1.
        batch_size: Images per step, at least 1.
        learning_rate: The highest rate of Adam, above 0.
        dropout: Rate of the main head's dropout in [0, 1); by default the architecture's (paper: 0.4).
        aux_dropout: Rate of the auxiliary heads' dropout in [0, 1); by default the paper's 0.7.
        weights: None for random ones; for fine-tuning `"imagenet"`, the path of a publisher's file, or that of a
            `.weights.h5` file.
        freeze_through: The last row of the architecture that does not learn, such as `"inception_4e"`; by default all
            rows learn.
        strategy: `"auto"`, `"one"`, `"mirrored"` or `"multi-worker"`; see `distribute.get_strategy`.
        seed: Decides initial weights, dropout, the order of the images and the splits that the source lacks.
        validation_fraction: Share of the training images for validation where the source has none, in [0, 1).
        test_fraction: Share of the training images for testing where the source has none, in [0, 1).
        skip_bad_images: Whether to leave out unreadable files of a folder rather than refuse them.
        tensorboard: Whether to write TensorBoard logs into the run folder.
        gradient_flow: Every how many epochs to write into `gradients.csv` the norm of the gradient that reaches each
            row from each head's loss, on a batch of validation images; 0 for never.
    """

    dataset: str = "digits"
    architecture: str = "googlenet"
    aux_heads: bool = True
    image_size: int | None = None
    epochs: int = recipe.QUICK.epochs
    batch_size: int = recipe.QUICK.batch_size
    learning_rate: float = recipe.QUICK.learning_rate
    dropout: float | None = None
    aux_dropout: float | None = None
    weights: str | None = None
    freeze_through: str | None = None
    strategy: str = "auto"
    seed: int = 0
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    skip_bad_images: bool = False
    tensorboard: bool = False
    gradient_flow: int = 0

    def __post_init__(self):
        rows = [row.name for row in architectures.get(self.architecture).rows]
        if self.freeze_through not in (None, *rows):
            raise ValueError(
                f"`freeze_through` must be a row of {self.architecture!r}: {', '.join(rows)}. "
                f"Received: freeze_through={self.freeze_through!r}"
            )
        source_of(self.weights, self.architecture)  # refuses an architecture that nobody published weights for
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0), ("gradient_flow", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}. Received: {name}={getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"`learning_rate` must be above 0. Received: learning_rate={self.learning_rate}")
        for name in ("dropout", "aux_dropout"):
            rate = getattr(self, name)
            if rate is not None and not 0 <= rate < 1:
                raise ValueError(f"`{name}` must be at least 0 and below 1. Received: {name}={rate}")
        if self.tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise ValueError(
                "TensorBoard logs need the package tensorboard, which TensorFlow does not bring. "
                'Install it with `pip install "keras-inception[tensorboard]"`.'
            )

    @classmethod
    def from_file(cls, path):
        """Reads a configuration from a JSON file, such as the `config.json` of a run.

        Raises:
            ValueError: It is no such file, or holds a field that there is not.
        """
        values = runs.read_json(path)
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known) if isinstance(values, dict) else values
        if unknown or not isinstance(values, dict):
            raise ValueError(f"{path} must hold fields of a training, {sorted(known)}. Received: {unknown}")
        return cls(**values)


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        folder: Where it was written.
        model: The trained model with all its heads.
        results: Loss and accuracies on the test images by head; empty without test images.
        sizes: The number of examples by split.
        skipped: The unreadable files that were left out.
        chief: Whether this process wrote the folder; of several workers only one does.
    """

    folder: Path
    model: keras.Model
    results: dict[str, dict[str, float]]
    sizes: dict[str, int]
    skipped: list[str]
    chief: bool


def load_data(config, preprocessing=None, batch=None):
    """Loads the images and labels that a configuration names.

    Args:
        config: A `TrainConfig`.
        preprocessing: What the network wants; by default what the configuration's will.
        batch: How batches are made of examples; see `data.load`.

    Returns:
        A `data.Data`.
    """
    architecture = architectures.get(config.architecture)
    published = source_of(config.weights, config.architecture)
    return data.load(
        config.dataset,
        # Published heads read the maps of images of the architecture's size alone.
        image_size=config.image_size or (architecture.image_size if published else None),
        batch_size=config.batch_size,
        architecture=config.architecture,
        aux_heads=config.aux_heads,
        preprocessing=preprocessing or (published or architecture).preprocessing,
        seed=config.seed,
        validation_fraction=config.validation_fraction,
        test_fraction=config.test_fraction,
        skip_bad_images=config.skip_bad_images,
        batch=batch,
    )


def train(config=None, out=None, *, overwrite=False, verbose="auto", on_data=None, report=diagnosis.warn):
    """Trains a network and writes a run folder: model, history, curves, configuration, results.

    The model in the folder is always that of the last finished epoch; a run that is killed loses the epoch it was in.

    Args:
        config: A `TrainConfig`; by default the paper's network on handwritten digits.
        out: The run's folder; by default `runs/DATASET-ARCHITECTURE`, with a number behind it where that exists.
        overwrite: Whether to replace a run in that folder.
        verbose: Keras's: 0 is silent, 1 shows a progress bar, 2 a line an epoch.
        on_data: Called with the `data.Data` before the first step.
        report: Called with each message about what goes wrong in the training, see `diagnosis`.

    Returns:
        A `Run`.

    Raises:
        ValueError: The configuration, the data or the folder is not fit for use.
        OSError: The folder cannot be written.
        distribute.WorkerLostError: Another worker ended; the same command on all of them begins anew.
        diagnosis.NotFiniteError: A loss became NaN or infinite; the run keeps the last finished epoch.
    """
    config = TrainConfig() if config is None else config
    strategy = distribute.get_strategy(config.strategy)  # several workers meet before anything else happens
    chief = distribute.is_chief(strategy)  # the one that writes
    folder = Path(out) if out else runs.free_folder(f"{Path(config.dataset).name}-{config.architecture}")
    if chief:
        runs.check_free(folder, overwrite=overwrite)
    keras.utils.set_random_seed(config.seed)
    dataset = load_data(config, batch=partial(distribute.batch, strategy=strategy))
    if on_data is not None and chief:
        on_data(dataset)
    with strategy.scope():
        model = _compiled_model(config, dataset)
    if chief:
        folder.mkdir(parents=True, exist_ok=True)
        runs.write_json(folder / runs.CONFIG, {**asdict(config), "image_size": dataset.image_shape[0]})
    with distribute.lost_workers(strategy):
        history = model.fit(
            dataset.train,
            validation_data=dataset.validation,
            epochs=config.epochs,
            verbose=verbose if chief else 0,
            shuffle=False,  # the dataset shuffles itself
            callbacks=_callbacks(config, folder, dataset, report, chief),
        ).history
        results = evaluation.evaluate(model, dataset.test) if dataset.test is not None else {}
    if chief:
        figures.curves(history, model.output_names).savefig(folder / runs.CURVES, dpi=120)
        runs.write_json(folder / runs.RESULTS, {"test": results, "sizes": dataset.sizes, "skipped": dataset.skipped})
        _write_samples(dataset, model, folder / runs.SAMPLES)
    return Run(folder, model, results, dataset.sizes, dataset.skipped, chief)


def _compiled_model(config, dataset):
    model = GoogLeNet(
        weights=config.weights,
        input_shape=dataset.image_shape,
        classes=len(dataset.class_names),
        architecture=config.architecture,
        aux_heads=config.aux_heads,
        dropout=config.dropout,
        aux_dropout=config.aux_dropout,
        class_names=dataset.class_names,
    )
    if config.freeze_through:
        freeze(model, config.freeze_through)
    steps = config.epochs * -(-dataset.sizes["train"] // config.batch_size)
    return compile_model(model, recipe.optimizer(replace(recipe.QUICK, learning_rate=config.learning_rate), steps))


def _callbacks(config, folder, dataset, report, chief):
    if not chief:
        return diagnosis.callbacks(lambda message: None)  # what stops a training must stop it on every worker
    # The diagnosis stands first, so that nothing is saved of an epoch with a loss that is not finite.
    callbacks = [*diagnosis.callbacks(report), _SaveRun(folder)]
    if config.gradient_flow and dataset.validation is not None:
        images, labels = next(iter(dataset.validation.take(1)))
        path = folder / runs.GRADIENTS
        callbacks.append(diagnosis.GradientFlow(images, labels, path, every=config.gradient_flow))
    if config.tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(folder / "tensorboard"))
    return callbacks


class _SaveRun(keras.callbacks.Callback):
    """Writes the model and a row of the history after every epoch."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.rows = []

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}})
        aside = self.folder / f"part-{runs.HISTORY}"
        with open(aside, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(aside, self.folder / runs.HISTORY)
        runs.save_model(self.model, self.folder)


def _write_samples(dataset, model, folder, count=8):
    """Writes some images that were not trained on, for a first prediction; the class stands in the file's name."""
    batches = dataset.test if dataset.test is not None else dataset.validation
    if batches is None:
        return
    folder.mkdir(exist_ok=True)
    for images, labels in batches.take(1):
        pixels = undo_preprocessing(images.numpy()[:count], preprocessing=model.preprocessing)
        for index, (image, label) in enumerate(zip(pixels, labels.numpy())):
            name = "".join(c if c.isalnum() or c in "-_" else "_" for c in dataset.class_names[label])
            keras.utils.save_img(folder / f"{index + 1}-{name}.png", np.clip(np.round(image), 0, 255), scale=False)
