"""GoogLeNet for KerasTuner: a search that keeps the three losses, whatever tuner runs it.

`space` says what may vary, `feeding` gives a trial its batches; `search` and what stands behind it are
`keras-inception tune`.
"""

import collections
import contextlib
import importlib.util
from dataclasses import replace

import keras
import keras_tuner
import tensorflow as tf
from keras_tuner.errors import FailedTrialError, FatalError, FatalValueError

from keras_inception.errors import InputError
from keras_inception.network.googlenet import compile_model
from keras_inception.training import optimizers, precision
from keras_inception.training.config import TrainConfig
from keras_inception.training.diagnosis import NotFiniteError, StopWhenNotFinite
from keras_inception.training.loop import compiled_model
from keras_inception.tuning import space as spaces
from keras_inception.tuning.feeding import Feed
from keras_inception.tuning.space import SPACE, Range

__all__ = ["OBJECTIVE", "SPACE", "GoogLeNetHyperModel", "Range"]

# KerasTuner cannot tell the direction of a metric with the name of a head in it.
OBJECTIVE = keras_tuner.Objective("val_main_accuracy", direction="max")

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
    length of the training, and stops when a loss is not finite. A tuner's own `optimizer`, `loss` and `metrics` win
    over those of the space; the weights of the losses stay those of the trial.

    Args:
        input_shape: `(height, width, channels)` of an image.
        classes: Number of classes, at least 2.
        space: What is searched; None for `SPACE`, as far as it means something for the network. Otherwise a list of
            names, which keep their values of `SPACE`, or a dict by names: True for these values, `(smallest, largest)`
            for another range, `Range(min_value, max_value, step, sampling)` or a dict of the same, a list of choices,
            a single value, or a function that takes `HyperParameters` and returns the value. Names are those of `SPACE`
            and of most fields of `TrainConfig`.
        config: The `TrainConfig` of what is not searched; by default the recipe "quick" and the architecture
            "googlenet", or "googlenet_small" for images of at most 64 pixels.
        class_names: Names of the classes, kept in the `.keras` file.
        name: Name of the hypermodel.

    Raises:
        ValueError: The space is empty, contradicts itself or the network, or tensorboard is missing.
    """

    def __init__(self, input_shape, classes, space=None, *, config=None, class_names=None, name="googlenet"):
        super().__init__(name=name)
        if importlib.util.find_spec("tensorboard") is None:
            raise InputError(
                "KerasTuner imports tensorboard in every trial, and does not install it. Use `pip install tensorboard`."
            )
        if config is None:
            small = max(size or SMALL_IMAGES + 1 for size in input_shape[:2]) <= SMALL_IMAGES
            config = TrainConfig(architecture="googlenet_small" if small else "googlenet")
        self.input_shape, self.classes, self.class_names = tuple(input_shape), classes, class_names
        self.base = config
        self.space = spaces.read(space, config)
        self._counts, self._executions = {}, collections.Counter()

    def config(self, hp):
        """Returns the `TrainConfig` of a trial.

        Args:
            hp: The trial's `keras_tuner.HyperParameters`; ranges that they lack are declared.

        Raises:
            ValueError: The combination is out of range.
        """
        return spaces.configured(self.base, spaces.declare(self.space, hp, self.base))

    def build(self, hp):
        """Returns the compiled model of a trial; each execution of the trial begins with other weights."""
        with _failures():
            config = self.config(hp)
            keras.utils.set_random_seed(config.seed + self._executions[_key(hp)])
            with precision.policy(precision.resolve(config.precision)[0]):
                model = compiled_model(config, self.input_shape, self.classes, self.class_names)
            _Compilation(model, config)
            return model

    def fit(self, hp, model, *args, **kwargs):
        """Trains the model of a trial; takes what `keras.Model.fit` takes.

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
        except ValueError as error:
            raise FatalValueError(str(error)) from error
        arguments.setdefault("epochs", config.epochs)
        epochs = arguments["epochs"] - arguments.get("initial_epoch", 0)
        brought = _Compilation.of(model).for_training(replace(config, epochs=max(epochs, 1)), steps)
        callbacks = list(arguments.pop("callbacks", None) or [])
        _check_objective(callbacks, model, brought.get("metrics"), arguments)
        with _failures():
            return model.fit(**arguments, callbacks=[StopWhenNotFinite(), _NameOfOnlyHead(), *callbacks])

    def feed(self, config, model, *args, **kwargs):
        """Returns the arguments of a trial's `model.fit`, from what `search` was given, and the steps of an epoch."""
        return Feed(config, self.space, model, self._counts).arguments(*args, **kwargs)


def _key(hp):
    return tuple(sorted(hp.values.items()))


class _Compilation:
    """A model's `compile` within a trial: what a tuner brings wins, the weights of the losses stay the trial's.

    KerasTuner compiles anew where it was given an optimizer, a loss or metrics: without loss weights, and with metrics
    of the model that Keras 3 does not take back.
    """

    def __init__(self, model, config):
        self.model, self.config, self.brought = model, config, {}
        model.compile = self

    @classmethod
    def of(cls, model):
        """Returns that of a trial's model."""
        if not isinstance(model.compile, cls):
            raise FatalValueError("`fit` of a hypermodel must get a model that its `build` returned, once.")
        return model.compile

    def __call__(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, **others):
        model = self.model
        if loss_weights is not None:  # no tuner, but somebody who says it all
            del model.compile
            model.compile(optimizer, loss, loss_weights, metrics, **others)
            return
        own = [id(metric) for metric in model.metrics]
        if optimizer is not model.optimizer:
            self.brought["optimizer"] = optimizer
        if loss is not None and loss is not model.loss:
            self.brought["loss"] = loss
        if metrics and not any(id(metric) in own for metric in keras.tree.flatten(metrics)):
            self.brought["metrics"] = metrics
        self.brought |= others
        self._compile(model.optimizer)
        model.compile = self

    def for_training(self, config, steps_per_epoch):
        """Compiles for a training of known length, and returns what a tuner brought."""
        self.config = config
        with self.model.distribute_strategy.scope():
            self._compile(optimizers.optimizer(config, steps_per_epoch))
        del self.model.compile
        return self.brought

    def _compile(self, optimizer):
        model = self.model

        def compile_with_what_was_brought(**arguments):
            type(model).compile(model, **{**arguments, **self.brought})

        model.compile = compile_with_what_was_brought
        compile_model(model, optimizer, self.config.loss_weights, label_smoothing=self.config.label_smoothing)


class _NameOfOnlyHead(keras.callbacks.Callback):
    """Adds the names with `main_` to the logs of a model of one head, which Keras gives without."""

    def on_epoch_end(self, epoch, logs=None):
        if len(self.model.output_names) == 1:
            for name in list(logs):
                prefix = "val_" if name.startswith("val_") else ""
                logs[f"{prefix}main_{name.removeprefix(prefix)}"] = logs[name]


def _check_objective(callbacks, model, metrics, arguments):
    """Refuses, before the first step, an objective that the logs will not hold."""
    objective = next((callback.objective for callback in callbacks if hasattr(callback, "objective")), None)
    if objective is None:
        return
    if metrics is None:
        metrics = ["accuracy", "top_5_accuracy"] if model.classes > 5 else ["accuracy"]
    metrics = [
        "loss",
        *(getattr(item, "name", getattr(item, "__name__", item)) for item in keras.tree.flatten(metrics)),
    ]
    names = ["loss", *(f"{head}_{metric}" for head in model.output_names for metric in metrics)]
    if len(model.output_names) == 1:
        names += metrics[1:]
    if arguments.get("validation_data") is not None or arguments.get("validation_split"):
        names += [f"val_{name}" for name in names]
    elif all(name.startswith("val_") for name in _names_of(objective)):
        raise FatalValueError(
            "The objective needs validation data, and `search` got none. Give it `validation_data` or "
            f"`validation_split`. Received: objective {', '.join(_names_of(objective))}"
        )
    missing = [name for name in _names_of(objective) if name not in names]
    if missing:
        raise FatalValueError(
            f"The objective must be one of what the model logs: {', '.join(names)}; `keras_inception.OBJECTIVE` is "
            f"{OBJECTIVE.name}. A tuner's own `metrics` must hold its metric. Received: {', '.join(missing)}"
        )


def _names_of(objective):
    return list(getattr(objective, "name_to_direction", [objective.name]))


@contextlib.contextmanager
def _failures():
    """Turns what goes wrong with one trial into KerasTuner's error for it, with the reason in one line."""
    try:
        yield
    except (FatalError, FailedTrialError):
        raise
    except NotFiniteError as error:
        raise FailedTrialError(f"diverged: {error}") from error
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        reason = (str(error).strip().splitlines() or ["no memory"])[0][:200]
        raise FailedTrialError(f"out of memory: {reason}") from error
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        raise FailedTrialError(f"bad combination: {' '.join(str(error).split())[:500]}") from error
