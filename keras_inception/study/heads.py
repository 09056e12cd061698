"""What the auxiliary heads do: the same network trained with no, each and all of them, compared seed by seed.

study.csv     each training: accuracies at the end, the step at which the main head left chance, CPU time
study.md      the comparison in tables, with its definitions and its budget
accuracy.png, leaving.png, final.png, gradients.png
ARCHITECTURE/VARIANT/seed-N/  the run folder of each training, with the losses of its steps in steps.csv, and in
              gradients.csv the norm of the gradient that reached each row of Table 1 from each head's loss

In every training the network has all its heads; a head that does not learn has a loss weight of 0. No gradient comes
from it, so that the trunk learns as if it were not there, and the trainings of a seed begin with the same weights, see
the same batches and draw the same dropout.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import keras

from keras_inception import architectures as records
from keras_inception import files
from keras_inception.architectures import Architecture
from keras_inception.data import Data, fingerprint
from keras_inception.errors import InputError, shown
from keras_inception.network.blocks import MAIN
from keras_inception.rules import is_whole
from keras_inception.study import findings
from keras_inception.study.results import BASELINE, STEPS, Study, StudyRun
from keras_inception.study.steps import StepLosses
from keras_inception.training import diagnosis, runs
from keras_inception.training.checkpoint import Progress
from keras_inception.training.config import TrainConfig, changes
from keras_inception.training.loop import train
from keras_inception.types import PathLike

COMPARED = ("googlenet", "googlenet_bn")


def variants_of(architecture: Architecture) -> dict[str, tuple[str, ...]]:
    """Returns the auxiliary heads that learn, by the names of the variants: none, each alone, and both or all."""
    heads = architecture.heads[1:]
    together = {"both" if len(heads) == 2 else "all": heads} if len(heads) > 1 else {}
    return {BASELINE: (), **{head: (head,) for head in heads}, **together}


def heads(
    config: TrainConfig | None = None,
    folder: PathLike | None = None,
    *,
    seeds: int = 3,
    architectures: Sequence[str | Architecture] = COMPARED,
    variants: Sequence[str] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    on_check: Callable[[int, int], None] | None = None,
    on_begin: Callable[[int, int], None] = lambda missing, count: None,
    on_training: Callable[[StudyRun], None] = lambda training: None,
    report: Callable[[str], None] = diagnosis.warn,
) -> Study:
    """Trains networks with no, each and all auxiliary heads, and writes what that changed.

    The same call goes on after an interruption: finished trainings are kept, the one that was under way is resumed.
    More seeds, architectures or variants may be asked for later. It trains on one machine, one training at a time.

    Args:
        config: What all trainings share; by default the recipe "quick" on handwritten digits. Its `architecture` is
            not read, `seed` is the first seed, and the loss weights of the auxiliary heads are those of a head that
            learns. `gradient_flow` is 1 where it is 0. On several devices it trains where `strategy` is "mirrored".
        folder: The study's folder; by default `studies/DATASET-heads`.
        seeds: How many trainings of each network and variant, at least 1; two are needed for an interval.
        architectures: Networks with the same auxiliary heads, by name or as records.
        variants: Some of "none", the names of the heads, and "both" (or "all", where there are more); by default each
            of them. Differences are to "none".
        callbacks: Further Keras callbacks of each training.
        on_check: Called with how many images of a folder were checked, and how many there are.
        on_begin: Called with the number of trainings that are missing and the number of all.
        on_training: Called with each `StudyRun` that is there, in order.
        report: Called with each message about what goes wrong in a training, see `diagnosis`.

    Returns:
        A `Study`.

    Raises:
        InputError: An argument, the configuration, the data or the folder is not fit for use.
        OSError: The folder cannot be written; the last checkpoint is whole.
        diagnosis.NotFiniteError: A loss became NaN or infinite.
        interruption.PreemptedError: SIGTERM came; the training that was under way was saved.
    """
    config = TrainConfig() if config is None else config
    if not isinstance(config, TrainConfig):
        raise InputError(f"`config` must be a `TrainConfig`. Received: config={shown(config)}")
    for name, value in (("architectures", architectures), ("variants", () if variants is None else variants)):
        if not isinstance(value, (list, tuple)):
            raise InputError(f"`{name}` must be a list of names. Received: {name}={shown(value)}")
    found = [records.get(network, config.width) for network in architectures]
    networks = {record.name: network for record, network in zip(found, architectures)}
    known = _check(config, seeds, found, variants)
    chosen = {variant: known[variant] for variant in (known if variants is None else variants)}
    default = Path("studies") / f"{Path(config.dataset).name}-heads"
    folder = default if folder is None else files.named(folder, "folder")
    _check_folder(folder, config)
    replace(config, seed=config.seed + seeds - 1)  # refuses a seed that is too large before the first training
    numbers = tuple(range(config.seed, config.seed + seeds))
    trainings = [
        StudyRun(name, variant, seed, folder / name / variant / f"seed-{seed}")
        for name in networks
        for variant in chosen
        for seed in numbers
    ]
    with files.locked(folder):
        _check_folder(folder, config)  # another process may have been faster
        on_begin(sum(not training.is_finished for training in trainings), len(trainings))
        for training in trainings:
            if not training.is_finished:
                its = _config_of(config, networks[training.architecture], training.variant, training.seed)
                _train(training, its, report, callbacks, on_check)
            training.check(config.recipe)
            on_training(training)
        study = Study(folder, config, tuple(networks), chosen, numbers, trainings)
        findings.write(study)
        return study


def _check(
    config: TrainConfig, seeds: int, networks: Sequence[Architecture], variants: Sequence[str] | None
) -> dict[str, tuple[str, ...]]:
    """Returns the variants that there are of all networks."""
    if not is_whole(seeds, 1):
        raise InputError(f"`seeds` must be a whole number of at least 1. Received: seeds={seeds!r}")
    names = [record.name for record in networks]
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"`architectures` must hold at least one network, and each once. Received: architectures={names}"
        )
    if len({record.heads for record in networks}) > 1 or not networks[0].auxiliary_heads:
        received = "; ".join(f"{record.name}: {', '.join(record.heads)}" for record in networks)
        raise InputError(f"A study of the heads needs networks with the same auxiliary heads. Received: {received}")
    known = variants_of(networks[0])
    variants = list(known if variants is None else variants)
    if not variants or any(variant not in list(known) or variants.count(variant) > 1 for variant in variants):
        raise InputError(
            f"`variants` must be among {', '.join(known)}, at least one and each once. Received: variants={variants!r}"
        )
    if not config.aux_heads:
        raise InputError("A study of the heads leaves heads out by itself: leave out `aux_heads=False`.")
    weights = config.recipe.loss_weights
    if weights is not None and not all(weights):
        raise InputError(
            "`loss_weights` must give each head a weight above 0; a study sets it to 0 for heads that do not learn. "
            f"Received: loss_weights={weights}"
        )
    if config.strategy == "multi-worker":
        raise InputError(f'A study trains on one machine: use "one" or "mirrored". Received: {config.strategy!r}')
    return known


def _check_folder(folder: Path, config: TrainConfig) -> None:
    """Refuses a folder that holds something else than trainings of this configuration."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"A study needs a folder of its own, and this is a file. Received: {folder}")
    configurations = sorted(folder.glob(f"*/*/seed-*/{runs.CONFIG}"))
    if not configurations and any(path.is_file() and path.name != files.LOCK for path in folder.rglob("*")):
        raise InputError(f"A study needs an empty folder, and this one holds something else. Received: {folder}")
    for path in configurations:
        was = TrainConfig.from_file(path)
        different = changes(was, _config_of(config, was.architecture, path.parts[-3], was.seed))
        if different:
            raise InputError(
                f"{folder} holds another study: {different}. Go on with the configuration that began it, or choose "
                "another folder with `--out`."
            )


def _config_of(config: TrainConfig, architecture: str | Architecture, variant: str, seed: int) -> TrainConfig:
    """Returns the configuration of one training of a study."""
    record = records.get(architecture, config.width)
    learning = (MAIN, *variants_of(record).get(variant, ()))
    weights = zip(record.heads, config.recipe.loss_weights or record.loss_weights)
    return replace(
        config,
        architecture=architecture,
        seed=seed,
        recipe=replace(config.recipe, loss_weights=tuple(w if head in learning else 0.0 for head, w in weights)),
        gradient_flow=config.gradient_flow or 1,
        strategy="mirrored" if config.strategy == "mirrored" else "one",
    )


def _train(
    training: StudyRun,
    config: TrainConfig,
    report: Callable[[str], None],
    callbacks: Sequence[keras.callbacks.Callback],
    on_check: Callable[[int, int], None] | None,
) -> None:
    """Trains one network, or goes on where its training was interrupted."""
    steps = StepLosses(training.folder / STEPS)

    def on_data(data: Data, progress: Progress) -> None:
        for path in training.folder.parents[2].glob(f"*/*/seed-*/{runs.DATA}"):
            was = runs.data_record(path.parent)
            if was is not None and fingerprint(was) != fingerprint(data.record):
                raise InputError(
                    f"All trainings of a study must see the same images, and these are others than those of "
                    f"{path.parent}. Bring them back as they were, or choose another folder with `--out`."
                )
        if data.validation is None:
            raise InputError("A study needs validation images: use `--validation-fraction`. Received: none")
        steps.go_on_after(progress.epoch * data.steps_per_epoch + progress.step)

    try:
        train(
            config,
            training.folder,
            verbose=0,
            on_data=on_data,
            report=lambda message: report(f"{training.name}: {message}"),
            callbacks=[steps, *callbacks],
            on_check=on_check,
        )
    except diagnosis.NotFiniteError as error:
        raise diagnosis.NotFiniteError(f"{training.name}: {error}") from error
    gc.collect()  # a model is full of circles, and the next one is to take its memory
