"""A search on any dataset of `keras-inception train`: what `keras-inception tune` runs.

search.json    what is searched: the same command goes on, another one is refused
data.json      what tells its images from others
results.csv    each trial with its values, validation accuracy, seconds, and why it failed
parallel.png   the trials as parallel coordinates
importance.png how much each hyperparameter mattered
best.json      the best trial for `keras-inception train --config`
trials/        the journal of the search, the progress of each trial, the weights of each trial's best epoch
"""

import collections
import contextlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import tensorflow as tf
from keras_tuner.errors import FatalValueError

from keras_inception import files
from keras_inception.data import BadImagesError, Data
from keras_inception.errors import InputError, StoppedError, shown
from keras_inception.plots import tuning as plots
from keras_inception.rules import is_number, is_whole
from keras_inception.training import distribute, runs
from keras_inception.training.config import TrainConfig, differences, to_options
from keras_inception.training.configured import load_data, note_bad_images
from keras_inception.training.saving import AveragesInValidation
from keras_inception.tuning import oracles, processes
from keras_inception.tuning import space as spaces
from keras_inception.tuning.hypermodel import OBJECTIVE, GoogLeNetHyperModel
from keras_inception.tuning.processes import is_chief_of_search, is_worker
from keras_inception.tuning.trials import (
    DefectError,
    HyperbandTuner,
    TrialResult,
    Tuner,
    repeating,
)
from keras_inception.types import PathLike

ORACLES = {
    "bayesian": oracles.BayesianOracle,
    "random": oracles.RandomOracle,
    "hyperband": oracles.HyperbandOracle,
    "grid": oracles.GridOracle,
}
# What a search may go on with otherwise.
FREE = ("training: skip_bad_images", "training: full_check")
LOST_AFTER_SECONDS = 60.0  # a chief gives up a worker that sends no heartbeat, which costs the worker's trial
SEARCH, RESULTS, BEST, PARALLEL, IMPORTANCE, TRIALS = (
    "search.json", "results.csv", "best.json", "parallel.png", "importance.png", "trials",
)  # fmt: skip


class SearchFailedError(StoppedError):
    """No trial succeeded, or too many in a row failed."""


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        folder: Where it was written.
        rows: The trials that ended, of earlier runs of the command too, in their order.
        best: The best of them.
        config: The `TrainConfig` of the best.
        out_of_time: Whether the budget of time ended the search.
    """

    folder: Path
    rows: list[TrialResult]
    best: TrialResult
    config: TrainConfig
    out_of_time: bool


def search(
    config: TrainConfig,
    folder: PathLike,
    *,
    space: Mapping[str, Any] | Sequence[str] | None = None,
    tuner: str = "bayesian",
    objective: str = OBJECTIVE.name,
    max_trials: int = 10,
    hours: float | None = None,
    executions: int = 1,
    pruning: bool = True,
    overwrite: bool = False,
    on_check: Callable[[int, int], None] | None = None,
    on_begin: Callable[[Data, list[TrialResult]], None] = lambda data, rows: None,
    on_epoch: Callable[[TrialResult], None] = lambda row: None,
    on_trial: Callable[[TrialResult], None] = lambda row: None,
) -> Found | None:
    """Searches for the training that validates best, and writes a folder; the same call goes on after a kill.

    With `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and `KERASTUNER_ORACLE_PORT` in the environment it is the chief,
    or a worker, of a search on several machines, which share the folder.

    Args:
        config: What is not searched. Its strategy "auto" is "mirrored" where the machine has several GPUs.
        folder: The search's folder.
        space: What is searched; see `GoogLeNetHyperModel`.
        tuner: "bayesian", "random", "hyperband" or "grid". The first trial takes the recipe's own values.
        objective: The name of a validation metric, such as "val_main_accuracy".
        max_trials: Trials at most, at least 1.
        hours: The budget of time, counted from the call: the trial that runs when it is spent is stopped, validated and
            counted, and no trial begins without time for a quarter of the longest one; None for no limit.
        executions: Trainings of each trial, whose mean counts.
        pruning: Whether a trial is stopped whose best epoch is below the median of what the other trials had reached
            after as many epochs, a quarter of its epochs at the earliest (the median stopping rule). Hyperband has a
            rule of its own. A trial that validates without an error is stopped too: it cannot get better.
        overwrite: Whether to replace a search in that folder.
        on_check: Called with how many images of a folder were checked, and how many there are.
        on_begin: Called with the data and the trials of earlier runs before the first trial.
        on_epoch: Called with the trial that runs in this process, after each of its epochs.
        on_trial: Called with each trial that ends.

    Returns:
        What was found; None in a worker.

    Raises:
        InputError: An argument, the space, the data or the folder is not fit for use.
        SearchFailedError: No trial succeeded, or ten in a row failed.
        StoppedError: A worker found no chief within ten minutes, or lost it for an hour.

    Reference:
        Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section 3.2.2: median stopping.
    """
    begun = time.monotonic()
    folder = files.named(folder, "folder")
    _check(tuner, max_trials, hours, executions, config)
    deadline = None if hours is None else begun + hours * 3600
    processes.check()
    spaces.read(space, config)  # refuses a bad one before the images are read
    goal = _objective(objective, config)
    # Slurm's tasks are workers of the search, not of one training.
    several = config.strategy == "auto" and len(tf.config.list_physical_devices("GPU")) > 1
    strategy = distribute.get_strategy("mirrored" if several or config.strategy == "mirrored" else "one")
    _check_folder(folder)
    with processes.place(folder):
        goes_on = _check_folder(folder) and (is_worker() or not overwrite)

        def begin(goes_on: bool) -> Found | None:
            size = config.image_size or (_begun_with(folder).get("training: image_size") if goes_on else None)
            record = _data_record(folder) if goes_on else None
            data = load_data(replace(config, image_size=size), record=record, on_check=on_check)
            if data.validation is None:
                raise InputError("A search needs validation images: use `--validation-fraction`. Received: none")
            hypermodel = _OnDataset(strategy, data, space, replace(config, image_size=data.image_shape[0]))
            identity = _identity(hypermodel, tuner, objective, executions)
            if goes_on:
                _check_identity(folder, identity)
            else:
                _begin_folder(folder, identity, data.record)

            def on_end(result: TrialResult) -> None:
                _write_results(folder, oracle.results, hypermodel, goal)
                on_trial(result)

            of_tuner = {
                "hyperband": {"max_epochs": config.recipe.epochs},
                "bayesian": {"num_initial_points": max(3, max_trials // 3)},
            }
            oracle = ORACLES[tuner](
                folder / TRIALS,
                trial_limit=max_trials,
                seed=config.seed,
                deadline=deadline,
                on_end=on_end,
                objective=goal,
                **of_tuner.get(tuner, {"max_trials": None}),
            )
            runner = (HyperbandTuner if tuner == "hyperband" else Tuner)(
                oracle,
                hypermodel,
                deadline=deadline,
                pruning=pruning and tuner != "hyperband",
                on_epoch=on_epoch,
                executions_per_trial=executions,
                distribution_strategy=strategy if strategy.num_replicas_in_sync > 1 else None,
                directory=str(folder),
                project_name=TRIALS,
            )
            if not is_worker():
                oracle.replay()
            if not is_worker() and not is_chief_of_search():
                oracle.give_up(oracle.tuner_ids - {runner.tuner_id})  # workers of an earlier run
            on_begin(data, list(oracle.results))
            with data.reading():
                _run(runner, oracle, config.recipe.epochs)
            return None if is_worker() else _finish(folder, oracle, hypermodel)

        while True:
            try:
                return begin(goes_on)
            except BadImagesError as error:
                note_bad_images(folder, _data_record(folder), config, error)  # workers may have noted others
                if not config.skip_bad_images:
                    raise
                goes_on = True  # and the trial begins again


def _run(runner: Tuner, oracle: Any, epochs: int) -> None:
    """Runs the trials; a defect, an error of the disk and what no trial can do end the search as what they are."""
    import grpc

    watch = repeating(LOST_AFTER_SECONDS / 6, lambda: oracle.give_up(oracle.silent(LOST_AFTER_SECONDS)))
    try:
        with watch if is_chief_of_search() else contextlib.nullcontext():
            runner.search(epochs=epochs, verbose=0)
    except FatalValueError as error:
        if isinstance(error.__cause__, BadImagesError):
            raise error.__cause__ from None
        raise InputError(str(error)) from error
    except DefectError as error:
        raise error.__cause__ from None
    except grpc.RpcError as error:
        raise StoppedError(
            f"The chief at {':'.join(map(str, processes.chief()))} answered no more. Start it again with the same "
            "command, and then this worker."
        ) from error


def _check(tuner: str, max_trials: int, hours: float | None, executions: int, config: TrainConfig) -> None:
    if not isinstance(config, TrainConfig):
        raise InputError(f"`config` must be a `TrainConfig`. Received: config={shown(config)}")
    if tuner not in list(ORACLES):
        raise InputError(f"`tuner` must be one of {', '.join(ORACLES)}. Received: tuner={tuner!r}")
    for name, count in (("max_trials", max_trials), ("executions", executions)):
        if not is_whole(count, 1):
            raise InputError(f"`{name}` must be a whole number of at least 1. Received: {name}={count!r}")
    if hours is not None and not (is_number(hours, 0) and hours > 0):
        raise InputError(f"`hours` must be a number above 0, or None for no limit. Received: hours={hours!r}")
    if config.deterministic:
        raise InputError("A search does not repeat bit by bit: leave out `deterministic`.")
    for name in ("train_image_size", "final_epochs"):
        if getattr(config, name):
            raise InputError(
                f"The trials of a search train with images of one size, all epochs alike: leave out `{name}`. "
                f"Received: {name}={getattr(config, name)}"
            )
    if config.strategy == "multi-worker":
        raise InputError(
            'A trial trains on one machine: use `strategy="one"`, "mirrored" or "auto". Several machines share the '
            f"trials of a search, see tuning/README.md. Received: strategy={config.strategy!r}"
        )


def _objective(name: str, config: TrainConfig) -> keras_tuner.Objective:
    heads = config.resolved_architecture.heads if config.aux_heads else ("main",)
    known = [f"val_{head}_{metric}" for metric in ("accuracy", "loss", "top_5_accuracy") for head in heads]
    if name not in known:
        raise InputError(f"`objective` must be one of {', '.join(known)}. Received: objective={name!r}")
    return keras_tuner.Objective(name, "min" if name.endswith("loss") else "max")


class _OnDataset(GoogLeNetHyperModel):
    """Trains each trial as `keras-inception train` would: on the images of its configuration."""

    def __init__(self, strategy: tf.distribute.Strategy, data: Data, space: Any, config: TrainConfig) -> None:
        names = data.class_names
        super().__init__(data.image_shape, len(names), space, config=config, class_names=names)
        self.strategy, self.record, self._data = strategy, data.record, data

    def reading(self) -> contextlib.AbstractContextManager[None]:
        return self._data.reading()

    def feed(self, config: TrainConfig, model: keras.Model, **kwargs: Any) -> tuple[dict[str, Any], int]:
        batch = partial(distribute.batch, strategy=self.strategy)
        data = load_data(config, model.preprocessing, batch, self.record)
        first = kwargs.get("initial_epoch", 0)
        batches = data.train_from(first, 0)
        batches = data.balanced(batches) if config.class_weight else batches
        arguments = {"x": batches, "steps_per_epoch": data.steps_per_epoch, "shuffle": False}
        callbacks = [AveragesInValidation(), *kwargs.pop("callbacks", [])]
        return {**kwargs, **arguments, "validation_data": data.validation, "callbacks": callbacks}, data.steps_per_epoch


def _identity(hypermodel: GoogLeNetHyperModel, tuner: str, objective: str, executions: int) -> dict[str, Any]:
    """Returns what must be the same for a search to go on, beside its images."""
    identity = {
        "tuner": tuner,
        "objective": objective,
        "executions": executions,
        **{f"space: {name}": str(entry) for name, entry in hypermodel.space.items()},
        **{f"training: {name}": value for name, value in to_options(hypermodel.base).items() if name != "strategy"},
        "training: flip": hypermodel.base.resolved_augmentation.flip,
    }
    return json.loads(json.dumps(identity))  # as a file gives it back


def _check_folder(folder: Path) -> bool:
    """Returns whether a folder holds a search; refuses one that holds something else, and a file."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"A search needs a folder of its own, and this is a file. Received: {folder}")
    is_one = (folder / SEARCH).is_file()
    if not is_one and folder.is_dir() and not files.is_empty(folder) and not is_worker():
        raise InputError(f"A search needs an empty folder, and this one holds something else. Received: {folder}")
    return is_one


def _begin_folder(folder: Path, identity: dict[str, Any], record: dict[str, Any]) -> None:
    """Makes the folder that of a new search, without what an earlier one left there."""
    if is_worker():
        raise InputError(f"A worker must see the folder of its chief's search. Received: {folder}, without {SEARCH}")
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != files.LOCK:
            path.unlink()
    files.write_json(folder / runs.DATA, record)
    files.write_json(folder / SEARCH, identity)


def _data_record(folder: Path) -> dict[str, Any]:
    record = runs.data_record(folder)
    if record is None:
        raise InputError(
            f"{folder} must hold {runs.DATA}, which tells the images of the search. Bring it back, or begin anew with "
            "`--overwrite`."
        )
    return record


def _begun_with(folder: Path) -> dict[str, Any]:
    was = files.read_json(folder / SEARCH)
    if not isinstance(was, dict):
        raise InputError(f"{folder / SEARCH} must say what is searched, and is damaged. Begin anew with `--overwrite`.")
    return was


def _check_identity(folder: Path, identity: dict[str, Any]) -> None:
    was = _begun_with(folder)
    if was.get("training: flip") is None:  # earlier versions left it to recipe and dataset
        of = {name: was[f"training: {name}"] for name in ("recipe", "dataset") if f"training: {name}" in was}
        was = {**was, "training: flip": TrainConfig.of(**of).resolved_augmentation.flip}
    # Earlier versions had fewer options, which were as they are by default.
    by_default = {f"training: {name}": value for name, value in to_options(TrainConfig()).items()}
    earlier = {name: (by_default | was)[name] for name in was | identity if name in by_default | was}
    different = differences(earlier, identity, FREE)
    if different:
        raise InputError(
            f"{folder} holds another search: {'; '.join(different)}. Go on with the command that began it, replace it "
            "with `--overwrite`, or choose another folder with `--out`."
        )


def _best_of(rows: Sequence[TrialResult], objective: keras_tuner.Objective) -> TrialResult | None:
    """Returns the best of some trials, the first of several; None without one that completed."""
    sign = 1 if objective.direction == "max" else -1
    scores = {row.trial: sign * row.score for row in rows if row.score is not None}
    return max((row for row in rows if row.trial in scores), key=lambda row: scores[row.trial], default=None)


def _config_of(row: TrialResult, hypermodel: GoogLeNetHyperModel) -> TrainConfig:
    hp = keras_tuner.HyperParameters()
    hp.values = dict(row.values)
    config = hypermodel.config(hp)
    epochs = row.values.get("tuner/epochs", config.recipe.epochs)  # Hyperband's
    return replace(config, recipe=replace(config.recipe, epochs=epochs))


def _write_results(
    folder: Path, rows: Sequence[TrialResult], hypermodel: GoogLeNetHyperModel, objective: keras_tuner.Objective
) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    table = [
        {
            "trial": row.trial,
            "status": row.status,
            objective.name: row.score,
            "seconds": round(row.seconds, 1),
            "epochs": row.epochs,
            **{name: row.values.get(name) for name in names},
            "reason": row.reason,
        }
        for row in rows
    ]
    files.write_table(folder / RESULTS, table)
    best = _best_of(rows, objective)
    if best is not None:
        files.write_json(folder / BEST, to_options(_config_of(best, hypermodel)))


def _finish(folder: Path, oracle: Any, hypermodel: GoogLeNetHyperModel) -> Found:
    rows, objective = oracle.results, oracle.objective
    best = _best_of(rows, objective)
    if oracle.failing or best is None:
        counts = collections.Counter(row.reason for row in rows if row.reason).most_common()
        why = f"the last {oracles.FAILURES} trials failed" if oracle.failing else "no trial succeeded"
        reasons = "; ".join(f"{count} times: {reason}" for reason, count in counts) or "none was run"
        raise SearchFailedError(f"{why}, and the search ended. {reasons}")
    names = list(hypermodel.space)
    for name, draw in ((PARALLEL, plots.parallel), (IMPORTANCE, plots.importance)):
        with files.written_aside(folder / name) as aside:
            draw(rows, names, objective.name).savefig(aside, dpi=120)
    _write_results(folder, rows, hypermodel, objective)
    return Found(folder, rows, best, _config_of(best, hypermodel), oracle.out_of_time)
