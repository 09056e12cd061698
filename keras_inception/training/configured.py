"""What a configuration names: the images that are trained on, and the model as its training begins."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_inception import files
from keras_inception.data import BadImagesError, Data, load, repairable, without
from keras_inception.data.folder import listed
from keras_inception.data.folder import root as folder_of
from keras_inception.errors import InputError
from keras_inception.network.googlenet import GoogLeNet, compile_model
from keras_inception.network.model import InceptionModel
from keras_inception.network.saved import known
from keras_inception.network.sizes import check_memory
from keras_inception.training import optimizers, precision, runs
from keras_inception.training.config import TrainConfig
from keras_inception.types import Dataset, PathLike, Shape
from keras_inception.weights import freeze, source_of


def load_data(
    config: TrainConfig,
    preprocessing: str | None = None,
    batch: Callable[..., Dataset] | None = None,
    record: Mapping[str, Any] | None = None,
    cache: PathLike | None = None,
    on_check: Callable[[int, int], None] | None = None,
) -> Data:
    """Loads the images and labels that a configuration names.

    Args:
        config: What is trained.
        preprocessing: What the network wants; by default what the configuration's will.
        batch: How batches are made of examples; see `data.load`.
        record: What a run noted of its data; see `data.load`.
        cache: Where decoded images are kept; see `data.load`.
        on_check: See `data.load`.
    """
    architecture = config.resolved_architecture
    wanted: Any = architecture
    size = config.image_size
    if not (size and preprocessing):  # of a run both are known, and what its weights began with may be gone
        # The images of a training are what those of its weights were, and by default as large.
        if published := source_of(config.weights, architecture):
            wanted, size = published, size or architecture.image_size
        elif trained := known(config.weights):
            wanted, size = trained, size or trained.image_shape[0]
    return load(
        config.dataset,
        # Published heads read the maps of images of the architecture's size alone.
        image_size=size,
        batch_size=config.recipe.batch_size,
        architecture=architecture,
        aux_heads=config.aux_heads,
        preprocessing=preprocessing or wanted.preprocessing or architecture.preprocessing,
        resize=config.resize,
        seed=config.seed,
        split_seed=config.split_seed,
        validation_fraction=config.validation_fraction,
        test_fraction=config.test_fraction,
        skip_bad_images=config.skip_bad_images,
        full_check=config.full_check,
        augmentation=config.resolved_augmentation,
        batch=batch,
        record=record,
        cache=cache,
        on_check=on_check,
    )


def note_bad_images(folder: Path, record: Mapping[str, Any], config: TrainConfig, bad: BadImagesError) -> None:
    """Notes of which images a run or a search goes on without, or, unless it may skip them, that they will be repaired.

    Args:
        folder: Of the run or the search, whose `data.json` is written.
        record: What that says, or would.
        config: What is trained.
        bad: What was found.

    Raises:
        InputError: It may skip them, and a class of a split would have no images left.
    """
    within = folder_of(config.dataset)
    names = {Path(os.path.relpath(path, within)).as_posix() for path in bad.reasons}
    awaited = repairable(record, names)
    if not config.skip_bad_images:
        files.write_json(folder / runs.DATA, awaited)
        return
    left = without(record, names)
    try:
        load_data(replace(config, weights=None), record=left)
    except BadImagesError:
        pass  # others, of which the next reading tells
    except InputError as error:
        files.write_json(folder / runs.DATA, awaited)
        raise InputError(
            f"Images are damaged or were removed, and nothing goes on without them. Bring them back, and the same "
            f"command goes on. Received: {listed(bad.reasons)}. {error}"
        ) from error
    files.write_json(folder / runs.DATA, left)


def compiled_model(
    config: TrainConfig,
    image_shape: Shape,
    classes: int,
    class_names: Sequence[str] | None = None,
    steps_per_epoch: int = 1,
) -> InceptionModel:
    """Returns the model of a configuration, as its training begins.

    Args:
        config: What is trained.
        image_shape: `(height, width, channels)` of the network's input.
        classes: Number of classes, at least 2.
        class_names: Names of the classes, or None.
        steps_per_epoch: Steps of one epoch, which the schedule of the learning rate counts.
    """
    model = GoogLeNet(
        weights=config.weights,
        input_shape=image_shape,
        classes=classes,
        architecture=config.resolved_architecture,
        aux_heads=config.aux_heads,
        dropout=config.dropout,
        aux_dropout=config.aux_dropout,
        kernel_initializer=config.recipe.kernel_initializer,
        bias_initializer=config.recipe.bias_initializer,
        class_names=class_names,
        dtype=precision.resolve(config.precision)[0],
    )
    model.resize = config.resize
    if size := config.train_image_size:
        check_memory(config.resolved_architecture, (), (size, size, image_shape[-1]), 0, config.recipe.batch_size)
        model.also_train_at(size)
    if config.freeze_through:
        freeze(model, config.freeze_through)
    compile_model(
        model,
        optimizers.optimizer(config.recipe, steps_per_epoch),
        optimizers.loss_weights(config.recipe, config.loss_weights, model.output_names, steps_per_epoch),
        label_smoothing=config.recipe.label_smoothing,
        distillation=config.recipe.distillation,
        distillation_temperature=config.recipe.distillation_temperature,
    )
    model.optimizer.build(model.trainable_variables)
    return model
