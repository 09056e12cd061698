"""Training from a configuration to a run folder."""

import contextlib
import csv
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_inception import architectures, data, evaluation, files, plots
from keras_inception.errors import InputError
from keras_inception.network.googlenet import GoogLeNet, compile_model
from keras_inception.network.preprocess import undo_preprocessing
from keras_inception.training import checkpoint, diagnosis, distribute, optimizers, precision, runs
from keras_inception.training.config import TrainConfig, changes
from keras_inception.training.interruption import PreemptedError, termination_signal
from keras_inception.weights import freeze, source_of

__all__ = ["PreemptedError", "Run", "TrainConfig", "load_data", "train"]

# A worker that is told to end says so with this file to the chief, which saves.
STOP = "stop-requested"


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
        augmentation=config,
        batch=batch,
    )


def train(
    config=None,
    out=None,
    *,
    resume=False,
    overwrite=False,
    verbose="auto",
    on_data=None,
    report=diagnosis.warn,
    callbacks=(),
):
    """Trains a network and writes a run folder: model, history, curves, configuration, results.

    The model in the folder is always that of the last finished epoch. A run that is killed goes on from its last
    checkpoint, which is written after every epoch, when `train` is called with the same configuration and folder, or
    with `resume=True`. On one device of one machine with `deterministic=True` it ends with the same bits as one that
    was never killed.

    Args:
        config: A `TrainConfig`; by default the paper's network on handwritten digits, or with `resume` the run's own.
        out: The run's folder; by default `runs/DATASET-ARCHITECTURE`, with a number behind it where that exists.
        resume: Whether the folder must hold a run to go on with. A finished one is left as it is.
        overwrite: Whether to replace a run in that folder.
        verbose: Keras's: 0 is silent, 1 shows a progress bar, 2 a line an epoch.
        on_data: Called with the `data.Data` and the `checkpoint.Progress` before the first step.
        report: Called with each message about what goes wrong in the training, see `diagnosis`.
        callbacks: Further Keras callbacks, called before an epoch is saved.

    Returns:
        A `Run`.

    Raises:
        ValueError: The configuration, the data or the folder is not fit for use.
        OSError: The folder cannot be written; the last checkpoint is whole.
        distribute.WorkerLostError: Another worker ended; the same command on all of them goes on.
        diagnosis.NotFiniteError: A loss became NaN or infinite; the run keeps the last finished epoch.
        PreemptedError: SIGTERM came; the run was saved after the step that was under way.
    """
    config = _config(config, out, resume)
    strategy = distribute.get_strategy(config.strategy)  # several workers meet before anything else happens
    chief = distribute.is_chief(strategy)  # the one that writes
    folder = Path(out) if out else runs.free_folder(f"{Path(config.dataset).name}-{config.architecture}")
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    if chief:
        _check_folder(folder, config, resume, overwrite)
    keras.utils.set_random_seed(config.seed)
    with termination_signal() as terminated, distribute.lost_workers(strategy):
        dataset = load_data(config, batch=partial(distribute.batch, strategy=strategy))
        if on_data is not None and chief:
            on_data(dataset, checkpoint.Progress() if overwrite else checkpoint.progress(folder / runs.CHECKPOINT))
        with strategy.scope(), precision.policy(precision.resolve(config.precision)[0]):
            model = compiled_model(
                config, dataset.image_shape, len(dataset.class_names), dataset.class_names, dataset.steps_per_epoch
            )
        if chief:
            _prepare_folder(folder, config, dataset, overwrite)
        progress = _restore(folder, model, strategy)
        while progress.epoch < config.epochs:
            # A training that was interrupted within an epoch ends that epoch first.
            model.fit(
                dataset.train_from(progress.epoch, progress.step),
                validation_data=dataset.validation,
                initial_epoch=progress.epoch,
                epochs=progress.epoch + 1 if progress.step else config.epochs,
                steps_per_epoch=dataset.steps_per_epoch - progress.step,
                verbose=verbose if chief else 0,
                shuffle=False,  # the dataset shuffles itself
                callbacks=_callbacks(config, folder, dataset, progress, terminated, report, chief, callbacks),
            )
            if not progress.step:
                break
            progress = _restore(folder, model, strategy)
        model.optimizer.finalize_variable_values(model.trainable_variables)
        results = evaluation.evaluate(model, dataset.test) if dataset.test is not None else {}
    if chief:
        _finish(folder, dataset, model, progress, results)
    return Run(folder, model, results, dataset.sizes, dataset.skipped, chief)


def _config(config, out, resume):
    if not resume:
        return TrainConfig() if config is None else config
    if out is None or not (Path(out) / runs.CONFIG).is_file():
        raise InputError(
            f"There is no run to go on with: {out} has no {runs.CONFIG}, so nothing was trained yet. Start it with "
            "the options of the training."
        )
    return TrainConfig.from_file(Path(out) / runs.CONFIG) if config is None else config


def _check_folder(folder, config, resume, overwrite):
    """Refuses a folder in which there is neither room for a new run nor the one to go on with."""
    if overwrite or not runs.is_unfinished(folder):
        if resume:
            raise InputError(f"{folder} holds a finished run: there is nothing to go on with.")
        runs.check_free(folder, overwrite=overwrite)
        return
    different = changes(TrainConfig.from_file(folder / runs.CONFIG), config)
    if different:
        raise InputError(
            f"{folder} holds an unfinished run of another configuration: {different}. Go on with it with `--resume`, "
            "replace it with `--overwrite`, or choose another folder with `--out`."
        )


def _prepare_folder(folder, config, dataset, overwrite):
    """Makes the folder of a new run, without what an earlier one left there, and writes the configuration into it."""
    folder.mkdir(parents=True, exist_ok=True)
    if overwrite or not runs.is_unfinished(folder):
        runs.clear(folder)
    (folder / STOP).unlink(missing_ok=True)
    files.write_json(folder / runs.CONFIG, {**asdict(config), "image_size": dataset.image_shape[0]})


def compiled_model(config, image_shape, classes, class_names=None, steps_per_epoch=1):
    """Returns the model of a configuration, as its training begins.

    Args:
        config: A `TrainConfig`.
        image_shape: `(height, width, channels)` of the network's input.
        classes: Number of classes, at least 2.
        class_names: Names of the classes, or None.
        steps_per_epoch: Steps of one epoch, which the schedule of the learning rate counts.

    Returns:
        An `InceptionModel`.
    """
    model = GoogLeNet(
        weights=config.weights,
        input_shape=image_shape,
        classes=classes,
        architecture=config.architecture,
        aux_heads=config.aux_heads,
        dropout=config.dropout,
        aux_dropout=config.aux_dropout,
        class_names=class_names,
    )
    if config.freeze_through:
        freeze(model, config.freeze_through)
    compile_model(
        model,
        optimizers.optimizer(config, steps_per_epoch),
        config.loss_weights,
        label_smoothing=config.label_smoothing,
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _restore(folder, model, strategy):
    """Returns the progress of the run in a folder, after setting the model to it; all workers do it together."""
    path = folder / runs.CHECKPOINT
    distribute.agree([0], strategy)  # waits for the chief, which may be writing it
    progress = checkpoint.progress(path)
    if not distribute.agree([progress.epoch, progress.step], strategy):
        raise InputError(
            "All workers must see the folder of the run, to go on from one checkpoint. Put it on a file system that "
            f"they share, or begin anew with `--overwrite`. Received: {folder}"
        )
    if path.is_file():
        checkpoint.restore(path, model)
    return progress


def _callbacks(config, folder, dataset, progress, terminated, report, chief, further):
    # What stops a training must stop it on every worker, and all of them evaluate with the same weights.
    callbacks = [*diagnosis.callbacks(report if chief else lambda message: None), AveragesInValidation(), *further]
    if not chief:
        return [*callbacks, _PassOnTermination(folder, terminated)]
    # The diagnosis stands first, so that nothing is saved of an epoch with a loss that is not finite.
    callbacks.append(_SaveRun(folder, progress, dataset.steps_per_epoch, terminated))
    if config.gradient_flow and dataset.validation is not None:
        images, labels = next(iter(dataset.validation.take(1)))
        path = folder / runs.GRADIENTS
        callbacks.append(diagnosis.GradientFlow(images, labels, path, every=config.gradient_flow))
    if config.tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(folder / "tensorboard"))
    return callbacks


class AveragesInValidation(keras.callbacks.Callback):
    """Validates with the moving average of the weights, where there is one."""

    def on_test_begin(self, logs=None):
        self._averaged = contextlib.ExitStack()
        self._averaged.enter_context(optimizers.averaged_weights(self.model))

    def on_test_end(self, logs=None):
        self._averaged.close()


class _SaveRun(keras.callbacks.Callback):
    """Writes checkpoint, history and model after every epoch, and a checkpoint when the process is told to end."""

    def __init__(self, folder, progress, steps_per_epoch, terminated):
        super().__init__()
        self.folder, self.progress = folder, progress
        self.steps_per_epoch, self.terminated = steps_per_epoch, terminated
        self.resumed_at = progress.step

    def on_epoch_begin(self, epoch, logs=None):
        self.steps = self.resumed_at
        if self.resumed_at:
            strategy = self.model.distribute_strategy
            if strategy.num_replicas_in_sync == 1:  # otherwise Keras has built the metrics
                outputs = [tf.zeros((1, self.model.classes)) for _ in self.model.output_names]
                self.model.compute_metrics(None, tf.zeros(1, tf.int64), outputs if len(outputs) > 1 else outputs[0])
            checkpoint.restore_metrics(self.folder / runs.CHECKPOINT, self.model)

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps < self.steps_per_epoch and self._must_end():
            self._checkpoint(step=self.steps)
            self._end()

    def on_epoch_end(self, epoch, logs=None):
        progress = self.progress
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}}
        progress.history.append(row)
        score = row.get("val_main_accuracy", row.get("val_accuracy"))
        is_best = score is not None and (progress.best is None or score > progress.best["val_main_accuracy"])
        if is_best:
            progress.best = {"epoch": epoch + 1, "val_main_accuracy": score}
        progress.epoch = epoch + 1
        self._checkpoint(step=0)
        _write_history(progress.history, self.folder / runs.HISTORY)
        with optimizers.averaged_weights(self.model):
            runs.save_model(self.model, self.folder)
        if is_best:
            with files.written_aside(self.folder / runs.BEST) as aside:
                shutil.copyfile(self.folder / runs.MODEL, aside)
        if self._must_end():
            self._end()

    def _must_end(self):
        return self.terminated.is_set() or (self.folder / STOP).exists()

    def _checkpoint(self, step):
        state = checkpoint.Progress(self.progress.epoch, step, self.progress.history, self.progress.best)
        metrics = step > 0 and distribute.worker_count(self.model.distribute_strategy) == 1
        checkpoint.write(self.folder / runs.CHECKPOINT, self.model, state, metrics=metrics)

    def _end(self):
        raise PreemptedError(
            f"told to end (SIGTERM), so the training was saved after {self.progress.epoch} epochs"
            + (f" and {self.steps} steps" if self.steps < self.steps_per_epoch else "")
            + f". Go on with `keras-inception train --resume {self.folder}`"
        )


class _PassOnTermination(keras.callbacks.Callback):
    """Tells the chief, which saves, that this worker was told to end."""

    def __init__(self, folder, terminated):
        super().__init__()
        self.folder, self.terminated = folder, terminated
        self.told = False

    def on_train_batch_end(self, batch, logs=None):
        if self.terminated.is_set() and not self.told and self.folder.is_dir():
            (self.folder / STOP).touch()
            self.told = True


def _write_history(rows, path):
    with files.written_aside(path) as aside, open(aside, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _finish(folder, dataset, model, progress, results):
    """Writes what a finished run has, its results last: they tell that it is finished."""
    _write_history(progress.history, folder / runs.HISTORY)
    history = {name: [row[name] for row in progress.history] for name in progress.history[0] if name != "epoch"}
    plots.curves(history, model.output_names).savefig(folder / runs.CURVES, dpi=120)
    runs.save_model(model, folder)
    _write_samples(dataset, model, folder / runs.SAMPLES)
    found = {"test": results, "best": progress.best, "sizes": dataset.sizes, "skipped": dataset.skipped}
    files.write_json(folder / runs.RESULTS, found)
    (folder / runs.CHECKPOINT).unlink(missing_ok=True)
    (folder / STOP).unlink(missing_ok=True)


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
