"""Training from a configuration to a run folder."""

import contextlib
import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_inception import evaluation, files
from keras_inception.data import BadImagesError, Data
from keras_inception.data.folder import listed
from keras_inception.errors import InputError, shown
from keras_inception.network.model import InceptionModel
from keras_inception.network.saved import known
from keras_inception.training import checkpoint, diagnosis, distribute, finished, optimizers, runs
from keras_inception.training.config import TrainConfig, to_options
from keras_inception.training.configured import compiled_model, load_data, note_bad_images
from keras_inception.training.interruption import Interrupt, interrupt_signal, termination_signal
from keras_inception.training.saving import (
    STOP,
    Advance,
    AfterSaving,
    AveragesInValidation,
    End,
    HoldInterrupt,
    PassOnTermination,
    SaveRun,
)
from keras_inception.training.start import Start, interrupted, start_of
from keras_inception.types import PathLike, Strategy


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        folder: Where it was written.
        model: The trained model with all its heads.
        results: Loss and accuracies on the test images by head; empty without test images.
        sizes: The number of examples by split.
        chief: Whether this process wrote the folder; of several workers only one does.
        epochs: The number of epochs that it was trained for.
    """

    folder: Path
    model: InceptionModel
    results: dict[str, dict[str, float]]
    sizes: dict[str, int]
    chief: bool
    epochs: int


def train(
    config: TrainConfig | None = None,
    folder: PathLike | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    verbose: Any = "auto",
    on_check: Callable[[int, int], None] | None = None,
    on_data: Callable[[Data, checkpoint.Progress], None] | None = None,
    report: Callable[[str], None] = diagnosis.warn,
    callbacks: Sequence[keras.callbacks.Callback] | None = None,
) -> Run:
    """Trains a network and writes a run folder: model, history, curves, configuration, results.

    The model in the folder is always that of the last finished epoch. A run that is killed goes on from its last
    checkpoint, which is written after every epoch, when `train` is called with the same configuration and folder, or
    with `resume=True`. On one device of one machine with `deterministic=True` it ends with the same bits as one that
    was never killed.

    Args:
        config: What to train; by default the paper's network on handwritten digits, or with `resume` the run's own.
        folder: The run's folder; by default `runs/DATASET-ARCHITECTURE`, with a number behind it where that exists.
        resume: Whether the folder must hold a run to go on with; a `config` then may have another number of epochs. A
            finished run goes on where that is more than it was trained for.
        overwrite: Whether to replace a run in that folder.
        verbose: Keras's: 0 is silent, 1 shows a progress bar, 2 a line an epoch.
        on_check: Called, while a folder of images is checked, with how many were and how many there are.
        on_data: Called with the data and the progress before the first step.
        report: Called with each message about what goes wrong in the training, see `diagnosis`.
        callbacks: Further Keras callbacks, called before an epoch is saved.

    Raises:
        InputError: The configuration, the data or the folder is not fit for use.
        OSError: The folder cannot be written; the last checkpoint is whole.
        distribute.WorkerLostError: Another worker ended; the same command on all of them goes on.
        diagnosis.NotFiniteError: A loss became NaN or infinite; the run keeps the last finished epoch.
        PreemptedError: SIGTERM came; the run was saved after the step that was under way.
    """
    callbacks = keras.tree.flatten(callbacks or [])
    if strangers := [callback for callback in callbacks if not isinstance(callback, keras.callbacks.Callback)]:
        raise InputError(f"`callbacks` must be a list of `keras.callbacks.Callback`. Received: {shown(strangers[0])}")
    begun = runs.begun(folder) if resume else TrainConfig()
    training = Training(begun if config is None else config, folder, verbose=verbose, report=report)
    training.check_folder(resume, overwrite)
    alone = files.locked(training.folder) if training.chief else contextlib.nullcontext()
    signals = termination_signal(), interrupt_signal()
    with alone, signals[0] as terminated, signals[1] as interrupt, distribute.lost_workers(training.strategy):
        training.check_folder(resume, overwrite)  # another process may have been faster
        if training.start.begins_anew and training.chief:
            report(f"{training.folder} has no checkpoint yet: the training begins anew with the same options")
        try:
            while True:
                try:
                    training.begin(on_data, on_check)
                    with training.data.reading():
                        training.fit(terminated, callbacks, interrupt)
                        return training.finish()
                except BadImagesError as error:
                    training.note(error)
        except KeyboardInterrupt as error:
            if not runs.is_unfinished(training.folder):
                raise
            raise KeyboardInterrupt(interrupted(training.folder)) from error
        finally:
            training.remove_cache()


class Training:
    """A training under way; see `train`."""

    start: Start  # which `check_folder` tells
    data: Data  # there once it has begun, as is `model`
    model: InceptionModel
    progress: checkpoint.Progress

    def __init__(
        self,
        config: TrainConfig,
        folder: PathLike | None = None,
        *,
        verbose: Any = "auto",
        report: Callable[[str], None] = diagnosis.warn,
    ) -> None:
        if not isinstance(config, TrainConfig):
            raise InputError(
                f"`config` must be a `TrainConfig`; see `TrainConfig.of`. Received: config={shown(config)}"
            )
        self.config: TrainConfig = config
        self.progress = checkpoint.Progress()
        self.strategy: Strategy = distribute.get_strategy(
            config.strategy, report=report
        )  # before anything else happens
        self.chief: bool = distribute.is_chief(self.strategy)
        name = f"{Path(config.dataset).name}-{config.resolved_architecture.name}"
        self.folder: Path = runs.free_folder(name) if folder is None else files.named(folder, "folder")
        self._verbose: Any = verbose if self.chief else 0
        self._report: Callable[[str], None] = report if self.chief else lambda message: None
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()

    def check_folder(self, resume: bool = False, overwrite: bool = False) -> None:
        """Refuses a folder in which there is neither room for a new run nor the one to go on with."""
        self.start = start_of(self.folder, self.config, resume=resume, overwrite=overwrite, chief=self.chief)

    def begin(
        self,
        on_data: Callable[[Data, checkpoint.Progress], None] | None = None,
        on_check: Callable[[int, int], None] | None = None,
    ) -> None:
        """Loads the data, builds the model, prepares the folder, and goes back to the last checkpoint."""
        keras.utils.set_random_seed(self.config.seed)
        self.remove_cache()  # of a process that was killed, or of other images
        self.start = replace(self.start, goes_on=self.start.goes_on or self.start.reopens)
        record = runs.data_record(self.folder) if self.start.goes_on else None
        if self.start.goes_on and record is None and not self.start.begins_anew:
            self._report(runs.unknown_images(self.folder))
        batch = partial(distribute.batch, strategy=self.strategy)
        reached = self._reached()
        network, preprocessing = self._network()
        load = partial(
            load_data,
            preprocessing=preprocessing,
            batch=batch,
            record=record,
            cache=self._cache(self.config.recipe.epochs - reached.epoch),
            on_check=on_check if self.chief else None,
        )
        self.data = load(network)
        if not self._all_have(self.data.record):
            self._report("not every worker knows of the same unreadable images: all of them are decoded once")
            self.remove_cache()
            self.data = load(replace(network, full_check=True))
            if not self._all_have(self.data.record):
                raise InputError(
                    "All workers must see the same images. Give each of them the same files. Received: "
                    f"{self.config.dataset}, of which worker {distribute.worker_index(self.strategy)} sees "
                    f"{self.data.sizes}"
                )
        if self.config.patience and self.data.validation is None:
            raise InputError(
                "`patience` needs validation images: use `validation_fraction`, or a folder called validation. "
                f"Received: patience={self.config.patience}"
            )
        if on_data is not None and self.chief:
            on_data(self.data, reached)
        with self.strategy.scope():
            self.model = compiled_model(
                network,
                self.data.image_shape,
                len(self.data.class_names),
                self.data.class_names,
                self.data.steps_per_epoch,
            )
            if preprocessing is not None:
                self.model.preprocessing = preprocessing
        if self.chief:
            self._prepare_folder()
        self._restore()
        if self.chief:
            self._keep_best()

    def _all_have(self, record: Mapping[str, Any]) -> bool:
        """Returns whether all workers have the same record of their images; all ask."""
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).digest()
        return distribute.agree([int.from_bytes(digest[:4], "big")], self.strategy)

    def _network(self) -> tuple[TrainConfig, str | None]:
        """Returns of what the network is built, and its preprocessing; None for that of the configuration.

        A run that goes on has all weights, and needs those that it began with no more: they may be gone, or others.
        """
        config, own = self.config, None
        if self.start.goes_on and config.image_size is None:  # chosen once: an image that is left out changes nothing
            config = replace(config, image_size=files.read_json(self.folder / runs.CONFIG).get("image_size"))
        if self.start.goes_on and config.weights is not None:
            with contextlib.suppress(InputError):  # damaged or missing, and written anew
                own = known(self.folder / runs.MODEL)
        if own is None:
            return config, None
        return replace(config, weights=None, image_size=own.image_shape[0]), own.preprocessing

    def fit(
        self,
        terminated: threading.Event,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        interrupt: Interrupt | None = None,
    ) -> None:
        """Trains to the last epoch; one that was interrupted within an epoch ends that epoch first."""
        epochs, steps = self.config.recipe.epochs, self.data.steps_per_epoch
        while self.progress.epoch < epochs and not self._is_over():
            epoch, step = self.progress.epoch, self.progress.step
            batches = self.data.train_from(
                epoch, step, image_size=self.config.train_image_size, whole_from=self.config.whole_from
            )
            self.model.fit(
                self.data.balanced(batches) if self.config.class_weight else batches,
                validation_data=self.data.validation,
                initial_epoch=epoch,
                epochs=epoch + 1 if step else epochs,
                steps_per_epoch=steps - step,
                verbose=self._verbose,
                shuffle=False,  # the data shuffle themselves
                callbacks=self._callbacks(terminated, callbacks, interrupt or Interrupt()),
            )
            if not step:
                break
            self._restore()
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)

    def _is_over(self) -> bool:
        """Returns whether the training ends here; all workers ask, and where one has no time left all end."""
        over = self.progress.is_over(self.config.patience, self.config.max_minutes)
        return not distribute.agree([int(over)], self.strategy) or over

    def finish(self) -> Run:
        """Scores the model on the test images, and writes what a finished run has."""
        results = {} if self.data.test is None else evaluation.evaluate_compiled(self.model, self.data.test)
        if self.chief:
            alone = distribute.worker_count(self.strategy) == 1
            finished.write(
                self.folder,
                self.model,
                self.data,
                self.progress,
                results,
                look_at_labels=alone,
                report=self._report,
            )
            self._checkpoint.unlink(missing_ok=True)
            (self.folder / STOP).unlink(missing_ok=True)
        return Run(self.folder, self.model, results, self.data.sizes, self.chief, self.progress.epoch)

    def note(self, bad: BadImagesError) -> None:
        """Notes in the run which images it goes on without, from its last checkpoint, here and after a resume.

        Raises:
            BadImagesError: It may not go on without them.
            InputError: It cannot go on without them; or other workers ended as well, and all have to begin again.
        """
        note_bad_images(self.folder, runs.data_record(self.folder) or self.data.record, self.config, bad)
        if not self.config.skip_bad_images:
            raise bad
        self.start = replace(self.start, goes_on=True)
        left_out = f"images are damaged or were removed, and are left out now: {listed(bad.reasons)}"
        if distribute.worker_count(self.strategy) > 1:
            raise InputError(f"{left_out[0].upper()}{left_out[1:]}. The same command on all workers goes on.") from bad
        self._report(f"{left_out}; the training goes on from its last checkpoint")

    def remove_cache(self) -> None:
        """Removes the decoded images that this process keeps on disk."""
        shutil.rmtree(self._cache_folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # other workers' are there
            self._cache_folder.parent.rmdir()

    @property
    def _cache_folder(self) -> Path:
        return self.folder / runs.CACHE / str(distribute.worker_index(self.strategy))

    def _cache(self, epochs: int) -> PathLike | None:
        """Returns where decoded images are kept for a training of so many epochs; None for nowhere."""
        if self.config.cache and epochs < 2:
            self._report("`cache` is of no use, for there is no second epoch that would read an image again")
            return None
        return self._cache_folder if self.config.cache == "disk" else self.config.cache

    @property
    def _checkpoint(self) -> Path:
        return self.folder / runs.CHECKPOINT

    def _prepare_folder(self) -> None:
        """Makes the folder of a new run, without what an earlier one left there, and writes the configuration."""
        if not self.start.goes_on:
            runs.clear(self.folder)
        if self.start.reopens and (self.folder / runs.RESULTS).is_file():
            self._reopen()  # not where it begins again without bad images
        with files.writing(self.folder):
            (self.folder / STOP).unlink(missing_ok=True)
        # The configuration makes the folder one of a run: a kill before the next line leaves one that goes on.
        config = replace(self.config, image_size=self.data.image_shape[0])
        files.write_json(self.folder / runs.CONFIG, to_options(config))
        files.write_json(self.folder / runs.DATA, self.data.record)

    def _reached(self) -> checkpoint.Progress:
        """Returns what the run in the folder has gone through; of a finished one, whose history tells, all of it."""
        if not (self.start.reopens and (self.folder / runs.RESULTS).is_file()):
            return checkpoint.progress(self._checkpoint) if self.start.goes_on else checkpoint.Progress()
        rows = files.read_table(self.folder / runs.HISTORY, ("epoch", "loss"))
        history = [{name: float(value) for name, value in row.items() if value != ""} for row in rows]
        history = [{**row, "epoch": int(row["epoch"])} for row in history]
        return checkpoint.Progress(len(history), 0, history, files.read_json(self.folder / runs.RESULTS)["best"])

    def _reopen(self) -> None:
        """Makes a finished run one to go on with: its model is the checkpoint of its last epoch."""
        was = runs.load_model(self.folder)
        for group in ("model", "optimizer"):
            now, then = checkpoint.VARIABLES[group](self.model), checkpoint.VARIABLES[group](was)
            if [variable.shape for variable in now] != [variable.shape for variable in then]:
                self._report(f"the {group}'s state is not in {runs.MODEL} and begins anew")
                continue
            for variable, value in zip(now, then):
                variable.assign(value)
        checkpoint.write(self._checkpoint, self.model, self._reached())
        for name in runs.EXITS_FILES:  # of the weights as they are now
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / runs.RESULTS).unlink()  # from here on the run is unfinished

    def _restore(self) -> None:
        """Sets model and progress to the last checkpoint; all workers do it together."""
        distribute.agree([0], self.strategy)  # waits for the chief, which may be writing it
        self.progress = checkpoint.progress(self._checkpoint)
        if not distribute.agree([self.progress.epoch, self.progress.step], self.strategy):
            raise InputError(
                "All workers must see the folder of the run, to go on from one checkpoint. Put it on a file system "
                f"that they share, or begin anew with `--overwrite`. Received: {self.folder}"
            )
        if self._checkpoint.is_file():
            checkpoint.restore(self._checkpoint, self.model, "model", "optimizer")
        if self.progress.step >= self.data.steps_per_epoch:
            self._report(f"an epoch has {self.data.steps_per_epoch} steps now, and the one that was begun begins again")
            self.progress = replace(self.progress, step=0)

    def _keep_best(self) -> None:
        """Writes the best model where a run ended between its checkpoint and that; says so where it is lost."""
        best, path = self.progress.best, self.folder / runs.BEST
        if best and best["epoch"] == self.progress.epoch and not self.progress.step and not self.start.reopens:
            with optimizers.averaged_weights(self.model):
                runs.save_model(self.model, self.folder, runs.BEST)
        elif best and not path.exists():
            self._report(f"{path}, of epoch {best['epoch']}, is lost, and written again only of a better epoch")

    def _callbacks(
        self, terminated: threading.Event, further: Sequence[keras.callbacks.Callback], interrupt: Interrupt
    ) -> list[keras.callbacks.Callback]:
        # What stops a training must stop it on every worker, and all of them evaluate with the same weights. The
        # diagnosis stands first, so that nothing is saved of an epoch with a loss that is not finite.
        before = [callback for callback in further if not isinstance(callback, AfterSaving)]
        after = [callback for callback in further if isinstance(callback, AfterSaving)]
        found: list[keras.callbacks.Callback] = [*diagnosis.callbacks(self._report), AveragesInValidation()]
        found += [HoldInterrupt(interrupt), *before, Advance(self.progress, self._is_over)]
        if not self.chief:
            return [*found, PassOnTermination(self.folder, terminated), *after]
        saving = SaveRun(self.folder, self.progress, self.data.steps_per_epoch, terminated)
        found.append(saving)
        if self.config.gradient_flow and self.data.validation is not None:
            images, labels = next(iter(self.data.validation.take(1)))
            path = self.folder / runs.GRADIENTS
            found.append(diagnosis.GradientFlow(images, labels, path, every=self.config.gradient_flow))
        if self.config.tensorboard:
            found.append(keras.callbacks.TensorBoard(self.folder / "tensorboard"))
        return [*found, *after, End(saving.end_if_told, interrupt)]
