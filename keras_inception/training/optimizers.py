"""The optimizer that comes of a recipe."""

import contextlib
import math

import keras
import numpy as np
from keras.optimizers import schedules

# Names of the variables that a weight decay spares.
BIASES_AND_NORMS = ("bias", "gamma", "beta")


def optimizer(recipe, steps_per_epoch):
    """Returns the optimizer of a recipe.

    Args:
        recipe: A `Recipe`.
        steps_per_epoch: Steps of one epoch, at least 1.

    Returns:
        A Keras optimizer.
    """
    rate = learning_rate(recipe, steps_per_epoch)
    ema = {}
    if recipe.ema_epochs:
        ema = {"use_ema": True, "ema_momentum": math.exp(-1 / (recipe.ema_epochs * steps_per_epoch))}
    if recipe.optimizer == "sgd":
        if recipe.weight_decay or recipe.bias_rate != 1:
            return SGD(rate, recipe.momentum, l2=recipe.weight_decay, bias_rate=recipe.bias_rate, **ema)
        return keras.optimizers.SGD(rate, recipe.momentum, **ema)
    if recipe.weight_decay:
        return AdamW(rate, recipe.weight_decay, **ema)
    return keras.optimizers.Adam(rate, **ema)


def learning_rate(recipe, steps_per_epoch):
    """Returns a recipe's rate as a number or a schedule over the steps of the whole training."""
    steps = recipe.epochs * steps_per_epoch
    warmup = round(recipe.warmup_fraction * steps)
    rate, rest = recipe.learning_rate, max(steps - warmup, 1)
    falls = {
        "constant": lambda: rate,
        "exponential": lambda: schedules.ExponentialDecay(
            rate, max(round(recipe.decay_epochs * steps_per_epoch), 1), recipe.decay_rate, staircase=True
        ),
        "polynomial": lambda: schedules.PolynomialDecay(rate, rest, 0.0, power=recipe.decay_power),
        "cosine": lambda: schedules.CosineDecay(rate, rest),
    }
    fall = falls[recipe.schedule]()
    return WarmUp(fall, warmup) if warmup else fall


@keras.saving.register_keras_serializable(package="keras_inception")
class WarmUp(schedules.LearningRateSchedule):
    """A schedule after a linear rise to its first rate.

    Args:
        schedule: A schedule, which begins when the rise ends, or a constant rate.
        steps: Steps of the rise, at least 1. It begins at the first rate divided by `steps`.
    """

    def __init__(self, schedule, steps):
        super().__init__()
        self.schedule, self.steps = schedule, steps

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        start = 1 / self.steps
        share = keras.ops.minimum(start + (1 - start) * step / self.steps, 1.0)
        after = keras.ops.maximum(step - self.steps, 0.0)
        return share * (self.schedule(after) if callable(self.schedule) else self.schedule)

    def get_config(self):
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), "steps": self.steps}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["steps"])


@keras.saving.register_keras_serializable(package="keras_inception")
class SGD(keras.optimizers.SGD):
    """SGD with momentum and the two habits of Caffe: an L2 penalty that spares biases, and a rate of the biases' own.

    The penalty's gradient goes through the momentum, unlike the decoupled `weight_decay` of Keras.

    Args:
        learning_rate: A rate or a schedule.
        momentum: In [0, 1).
        l2: Weight decay, at least 0: `l2 * weight` is added to the gradient of all but biases and normalization.
        bias_rate: The rate of the biases as a multiple of the others'.
        **kwargs: Keras's.

    Reference: BVLC Caffe, src/caffe/solvers/sgd_solver.cpp; `lr_mult` and `decay_mult` of bvlc_googlenet.
    """

    def __init__(self, learning_rate=0.01, momentum=0.9, *, l2=0.0, bias_rate=1.0, name="sgd", **kwargs):
        super().__init__(learning_rate, momentum, name=name, **kwargs)
        self.l2, self.bias_rate = l2, bias_rate

    def update_step(self, gradient, variable, learning_rate):
        # TensorFlow hands over its own variable, whose name is another.
        name = self._trainable_variables[self._get_variable_index(variable)].name
        if name == "bias":
            gradient = gradient * self.bias_rate  # the momentum is linear in it
        elif self.l2 and name not in BIASES_AND_NORMS:
            gradient = gradient + self.l2 * variable
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        return {**super().get_config(), "l2": self.l2, "bias_rate": self.bias_rate}


@keras.saving.register_keras_serializable(package="keras_inception")
class AdamW(keras.optimizers.AdamW):
    """Keras's AdamW, whose decay spares biases and normalization, also after the model was saved and loaded."""

    def __init__(self, learning_rate=0.001, weight_decay=0.004, *, name="adamw", **kwargs):
        super().__init__(learning_rate, weight_decay, name=name, **kwargs)
        # Keras also asks about TensorFlow's own variables, which are called "conv1/bias:0".
        self.exclude_from_weight_decay(var_names=[rf"(^|/){name}(:\d+)?$" for name in BIASES_AND_NORMS])


@contextlib.contextmanager
def averaged_weights(model):
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


def keeps_average(optimizer):
    """Returns whether an optimizer keeps a moving average of the weights."""
    return bool(getattr(optimizer, "inner_optimizer", optimizer).use_ema)
