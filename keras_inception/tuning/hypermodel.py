"""GoogLeNet for KerasTuner: a search that keeps the losses of all heads, whatever tuner runs it.

`space` says what may vary, `feeding` gives a trial its batches; `search` and what stands behind it are
`keras-inception tune`.
"""

import collections
import contextlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import keras_tuner
import tensorflow as tf
from keras_tuner.errors import FailedTrialError, FatalValueError

from keras_inception.errors import InputError, MissingPackageError, shown
from keras_inception.network.logs import name_logs
from keras_inception.network.model import InceptionModel
from keras_inception.rules import is_whole
from keras_inception.training import optimizers
from keras_inception.training.checkpoint import Progress
from keras_inception.training.config import TrainConfig
from keras_inception.training.configured import compiled_model
from keras_inception.training.diagnosis import NotFiniteError, StopWhenNotFinite
from keras_inception.training.saving import Advance
from keras_inception.tuning import feeding
from keras_inception.tuning import space as spaces

OBJECTIVE: keras_tuner.Objective = keras_tuner.Objective("val_main_accuracy", direction="max")

SMALL_IMAGES = 64  # pixels; up to here the stem of `googlenet` leaves nothing for the auxiliary heads


class GoogLeNetHyperModel(keras_tuner.HyperModel):
    """A space of GoogLeNets and of their trainings, for any tuner of KerasTuner.

    ```py
    tuner = keras_tuner.RandomSearch(
        ki.GoogLeNetHyperModel((96, 96, 3), classes=10), ki.OBJECTIVE, max_consecutive_failed_trials=10
    )
    tuner.search(images, labels, validation_split=0.1, epochs=5)
    model = tuner.get_best_models()[0]
    ```

    `fit` applies batch size and augmentation to arrays and `tf.data`, gives the schedule of the learning rate the
    length of the training, and stops when a loss is not finite, or when `patience` or `max_minutes` of `config` say so.
    A tuner's own `optimizer`, `loss` and `metrics` win over those of the space; the weights of the losses stay those of
    the trial.

    Args:
        input_shape: `(height, width, channels)` of an image.
        classes: Number of classes, at least 2.
        space: What is searched; None for `SPACE` and the weight of each auxiliary head, as far as it means something
            for the network. Otherwise a list of names, which keep these values, or a dict by names: True for these
            values, `(smallest, largest)` for another range, `Range(min_value, max_value, step, sampling)` or a dict of
            the same, a list of choices, or a single value. Other names are those of most fields of a training.
        config: What is not searched; by default the recipe "quick" and the architecture "googlenet", or
            "googlenet_small" for images of at most 64 pixels.
        class_names: Names of the classes, kept in the `.keras` file.
        name: Name of the hypermodel.

    Raises:
        InputError: An argument is of the wrong type or size; the space is empty, or contradicts itself or the network.
        MissingPackageError: There is no tensorboard.
    """

    def __init__(
        self,
        input_shape: Sequence[int | None],
        classes: int,
        space: Mapping[str, Any] | Sequence[str] | None = None,
        *,
        config: TrainConfig | None = None,
        class_names: Sequence[str] | None = None,
        name: str = "googlenet",
    ) -> None:
        super().__init__(name=name)
        if importlib.util.find_spec("tensorboard") is None:
            raise MissingPackageError(
                "KerasTuner imports tensorboard in every trial, and does not install it. Use `pip install tensorboard`."
            )
        sizes = list(input_shape) if isinstance(input_shape, (list, tuple)) else []
        if len(sizes) != 3 or not all(size is None or is_whole(size, 1) for size in sizes):
            raise InputError(
                "`input_shape` must be (height, width, channels) in whole numbers of at least 1. "
                f"Received: input_shape={shown(input_shape)}"
            )
        if not is_whole(classes, 2):
            raise InputError(f"`classes` must be a whole number of at least 2. Received: classes={shown(classes)}")
        if config is not None and not isinstance(config, TrainConfig):
            raise InputError(f"`config` must be a `TrainConfig`. Received: config={shown(config)}")
        if config is None:
            small = max(size or SMALL_IMAGES + 1 for size in input_shape[:2]) <= SMALL_IMAGES
            config = TrainConfig(architecture="googlenet_small" if small else "googlenet")
        self.input_shape: tuple[int | None, ...] = tuple(input_shape)
        self.classes: int = classes
        self.class_names: Sequence[str] | None = class_names
        name_logs(config.resolved_architecture.heads)
        self.base: TrainConfig = config
        self.space: spaces.Space = spaces.read(space, config)
        self._executions: collections.Counter[tuple] = collections.Counter()
        self._optimizer: Any = None  # of the model that was built last

    def config(self, hp: keras_tuner.HyperParameters) -> TrainConfig:
        """Returns the configuration of a trial; ranges that its `HyperParameters` lack are declared.

        Raises:
            InputError: The combination is out of range.
        """
        return spaces.configured(self.base, spaces.declare(self.space, hp, self.base))

    def build(self, hp: keras_tuner.HyperParameters) -> InceptionModel:
        """Returns the compiled model of a trial; each execution of the trial begins with other weights."""
        with _failures():
            config = self.config(hp)
            keras.utils.set_random_seed(config.seed + self._executions[_key(hp)])
            model = compiled_model(config, self.input_shape, self.classes, self.class_names)
        # A tuner with an optimizer, a loss or metrics of its own compiles again, without the weights of the losses.
        model.default_loss_weights = None if model.head_losses is None else tuple(model.head_losses.weights)
        self._optimizer = model.optimizer
        return model

    def fit(self, hp: keras_tuner.HyperParameters, model: InceptionModel, *args: Any, **kwargs: Any) -> Any:
        """Trains the model of a trial.

        Args:
            hp: The trial's hyperparameters.
            model: What `build` returned for them.
            *args: As `keras.Model.fit` takes them.
            **kwargs: The same by name.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            keras_tuner.errors.FatalError: The data or the objective do not fit, in any trial.
            keras_tuner.errors.FailedTrialError: This trial diverged, ran out of memory or combines badly.
        """
        with _failures():
            config = self.config(hp)
        self._executions[_key(hp)] += 1
        try:
            arguments, steps = self.feed(config, model, *args, **kwargs)
        except InputError as error:
            raise FatalValueError(str(error)) from error
        arguments.setdefault("epochs", config.recipe.epochs)
        epochs = arguments["epochs"] - arguments.get("initial_epoch", 0)
        if model.optimizer is self._optimizer:  # none of the tuner's own
            with model.distribute_strategy.scope():
                optimizer = optimizers.optimizer(replace(config.recipe, epochs=max(epochs, 1)), steps)
                model.compile(optimizer, model.loss, metrics=model.metrics)
        callbacks = list(arguments.pop("callbacks", None) or [])
        _check_objective(callbacks, model, arguments)
        progress = Progress()
        with _failures():
            try:
                advance = Advance(progress, lambda: progress.is_over(config.patience, config.max_minutes))
                with self.reading():
                    return model.fit(**arguments, callbacks=[StopWhenNotFinite(), *callbacks, advance])
            except InputError as error:  # of the data, which are those of every trial
                raise FatalValueError(str(error)) from error

    def feed(self, config: TrainConfig, model: InceptionModel, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], int]:
        """Returns the arguments of a trial's `model.fit`, and the steps of an epoch.

        Args:
            config: The trial's configuration.
            model: Its model.
            *args: What `search` was given, as `keras.Model.fit` takes it.
            **kwargs: The same by name.

        Raises:
            InputError: The data do not fit.
        """
        return feeding.feed(config, model, "batch_size" in self.space, *args, **kwargs)

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Returns a context of what reads the data, which turns an error of theirs into an `InputError`."""
        return contextlib.nullcontext()


def _key(hp: keras_tuner.HyperParameters) -> tuple:
    return tuple(sorted(hp.values.items()))


def _check_objective(
    callbacks: Sequence[keras.callbacks.Callback], model: InceptionModel, arguments: dict[str, Any]
) -> None:
    """Refuses, before the first step, an objective that the logs will not hold."""
    objective = next((callback.objective for callback in callbacks if hasattr(callback, "objective")), None)
    if objective is None:
        return
    wanted = list(getattr(objective, "name_to_direction", [objective.name]))  # of several objectives
    metrics = ["loss", *(model.head_losses.metric_names if model.head_losses else ())]
    names = ["loss", *(f"{head}_{metric}" for head in model.output_names for metric in metrics)]
    names += metrics[1:]  # the main head's
    if arguments.get("validation_data") is not None or arguments.get("validation_split"):
        names += [f"val_{name}" for name in names]
    elif all(name.startswith("val_") for name in wanted):
        raise FatalValueError(
            "The objective needs validation data, and `search` got none. Give it `validation_data` or "
            f"`validation_split`. Received: objective {', '.join(wanted)}"
        )
    missing = [name for name in wanted if name not in names]
    if missing:
        raise FatalValueError(
            f"The objective must be one of what the model logs: {', '.join(names)}; `keras_inception.OBJECTIVE` is "
            f"{OBJECTIVE.name}. A tuner's own `metrics` must hold its metric. Received: {', '.join(missing)}"
        )


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turns what goes wrong with one trial into KerasTuner's error for it, with the reason in one line."""
    try:
        yield
    except NotFiniteError as error:
        raise FailedTrialError(f"diverged: {error}") from error
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        reason = (str(error).strip().splitlines() or ["no memory"])[0][:200]
        raise FailedTrialError(f"out of memory: {reason}") from error
    except (InputError, tf.errors.InvalidArgumentError) as error:
        raise FailedTrialError(f"bad combination: {' '.join(str(error).split())[:500]}") from error
