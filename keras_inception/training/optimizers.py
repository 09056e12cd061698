"""The optimizer of a recipe."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras.optimizers import schedules

from keras_inception.network.blocks import MAIN
from keras_inception.network.loss_weights import LossWeight
from keras_inception.network.replicas import replica_count
from keras_inception.recipes import Recipe
from keras_inception.types import Schedule, Tensor

# Names of the variables that a weight decay spares.
BIASES_AND_NORMS: tuple[str, ...] = ("bias", "gamma", "beta")


def optimizer(recipe: Recipe, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a recipe.

    Args:
        recipe: A `Recipe`.
        steps_per_epoch: Steps of one epoch, at least 1.
    """
    rate = learning_rate(recipe, steps_per_epoch)
    ema: dict[str, Any] = {}
    if recipe.ema_epochs:
        ema = {"use_ema": True, "ema_momentum": math.exp(-1 / (recipe.ema_epochs * steps_per_epoch))}
    if recipe.optimizer == "sgd":
        if recipe.weight_decay or recipe.bias_rate != 1:
            return SGD(rate, recipe.momentum, l2=recipe.weight_decay, bias_rate=recipe.bias_rate, **ema)
        return keras.optimizers.SGD(rate, recipe.momentum, **ema)
    if recipe.weight_decay:
        return AdamW(rate, recipe.weight_decay, **ema)
    return keras.optimizers.Adam(rate, **ema)


def learning_rate(recipe: Recipe, steps_per_epoch: int) -> float | Schedule:
    """Returns a recipe's rate as a number or a schedule over the steps of the whole training."""
    steps = recipe.epochs * steps_per_epoch
    warmup = round(recipe.warmup_fraction * steps)
    rate, rest = recipe.learning_rate, max(steps - warmup, 1)
    falls: dict[str, Callable[[], float | Schedule]] = {
        "constant": lambda: rate,
        "exponential": lambda: schedules.ExponentialDecay(
            rate, max(round(recipe.decay_epochs * steps_per_epoch), 1), recipe.decay_rate, staircase=True
        ),
        "polynomial": lambda: schedules.PolynomialDecay(rate, rest, 0.0, power=recipe.decay_power),
        "cosine": lambda: schedules.CosineDecay(rate, rest),
    }
    fall = falls[recipe.schedule]()
    return WarmUp(fall, warmup) if warmup else fall


def loss_weights(
    recipe: Recipe, weights: Mapping[str, float], heads: Sequence[str], steps_per_epoch: int
) -> dict[str, LossWeight]:
    """Returns the weights of the losses as a recipe lets them fall: the main head's is a number always.

    Args:
        recipe: A `Recipe`.
        weights: What they begin with, by head.
        heads: Those of a model.
        steps_per_epoch: Steps of one epoch, at least 1.
    """
    steps = recipe.epochs * steps_per_epoch
    falls: dict[str, Callable[[float], LossWeight]] = {
        "constant": lambda weight: weight,
        "linear": lambda weight: schedules.PolynomialDecay(weight, steps, 0.0),
        "cosine": lambda weight: schedules.CosineDecay(weight, steps),
    }
    fall = falls[recipe.aux_loss_schedule]
    return {head: fall(weights[head]) if head != MAIN and weights[head] else weights[head] for head in heads}


@keras.saving.register_keras_serializable(package="keras_inception")
class WarmUp(schedules.LearningRateSchedule):
    """A schedule after a linear rise to its first rate.

    Args:
        schedule: A schedule, which begins when the rise ends, or a constant rate.
        steps: Steps of the rise, at least 1. It begins at the first rate divided by `steps`.
    """

    def __init__(self, schedule: float | schedules.LearningRateSchedule, steps: int):
        super().__init__()
        self.schedule, self.steps = schedule, steps

    def __call__(self, step: Tensor) -> Tensor:
        step = keras.ops.cast(step, "float32")
        start = 1 / self.steps
        share = keras.ops.minimum(start + (1 - start) * step / self.steps, 1.0)
        after = keras.ops.maximum(step - self.steps, 0.0)
        return share * (self.schedule(after) if callable(self.schedule) else self.schedule)

    def get_config(self) -> dict[str, Any]:
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WarmUp":
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["steps"])


@keras.saving.register_keras_serializable(package="keras_inception")
class SGD(keras.optimizers.SGD):
    """SGD with momentum and the two habits of Caffe: an L2 penalty that spares biases, and a rate of the biases' own.

    The penalty's gradient goes through the momentum, unlike the decoupled `weight_decay` of Keras. Where `clipnorm` and
    its like are given, it is clipped with the rest.

    Args:
        learning_rate: A rate or a schedule.
        momentum: In [0, 1).
        l2: Weight decay, at least 0: `l2 * weight` is added to the gradient of all but biases and normalization.
        bias_rate: The rate of the biases as a multiple of the others'.
        **kwargs: Keras's.

    Reference: BVLC Caffe, src/caffe/solvers/sgd_solver.cpp; `lr_mult` and `decay_mult` of bvlc_googlenet.
    """

    def __init__(
        self,
        learning_rate: float | Schedule = 0.01,
        momentum: float = 0.9,
        *,
        l2: float = 0.0,
        bias_rate: float = 1.0,
        name: str = "sgd",
        **kwargs: Any,
    ):
        super().__init__(learning_rate, momentum, name=name, **kwargs)
        self.l2, self.bias_rate = l2, bias_rate

    def build(self, variables: Sequence[keras.Variable]) -> None:
        # In a function, because Keras counts variables in an attribute among the optimizer's own.
        self._weights: Callable[[], list[keras.Variable]] = partial(list, variables)
        super().build(variables)

    def apply(
        self, grads: Sequence[Tensor | None], trainable_variables: Sequence[keras.Variable] | None = None
    ) -> None:
        weights = self._weights() if trainable_variables is None and self.built else list(trainable_variables or ())
        super().apply([self._of_caffe(*pair) for pair in zip(grads, weights)], trainable_variables)

    def _of_caffe(self, gradient: Tensor | None, weight: keras.Variable) -> Tensor | None:
        if gradient is None:
            return None
        if weight.name == "bias":
            return gradient * self.bias_rate  # the momentum is linear in it
        if not self.l2 or weight.name in BIASES_AND_NORMS:
            return gradient
        # Keras will divide by the loss scale, and sum over the replicas.
        return gradient + self.l2 * (self.loss_scale_factor or 1) / replica_count() * weight

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "l2": self.l2, "bias_rate": self.bias_rate}


@keras.saving.register_keras_serializable(package="keras_inception")
class AdamW(keras.optimizers.AdamW):
    """Keras's AdamW, whose decay spares biases and normalization, also after the model was saved and loaded."""

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        weight_decay: float = 0.004,
        *,
        name: str = "adamw",
        **kwargs: Any,
    ):
        super().__init__(learning_rate, weight_decay, name=name, **kwargs)
        # Keras also asks about TensorFlow's own variables, which are called "conv1/bias:0".
        self.exclude_from_weight_decay(var_names=[rf"(^|/){name}(:\d+)?$" for name in BIASES_AND_NORMS])


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Puts the moving average of its weights into a model, and afterwards its weights again, bit by bit.

    A model whose optimizer keeps no average stays as it is.
    """
    if not keeps_average(model.optimizer):
        yield
        return
    weights = [np.array(variable) for variable in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, weights):
            variable.assign(value)


def keeps_average(optimizer: keras.optimizers.Optimizer) -> bool:
    """Returns whether an optimizer keeps a moving average of the weights."""
    return bool(getattr(optimizer, "inner_optimizer", optimizer).use_ema)
