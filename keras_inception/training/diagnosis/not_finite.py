"""A training whose losses or weights are NaN or infinite is stopped, and the cause is named."""

import math
from typing import Any

import keras
import tensorflow as tf

from keras_inception.errors import StoppedError
from keras_inception.training.diagnosis.watcher import Watcher
from keras_inception.types import Logs, Tensor

REMEDIES = "What helps: a lower learning rate, a warm-up, `clipnorm` in the optimizer, float32 or bfloat16 for float16."


class NotFiniteError(StoppedError):
    """A loss, or a weight, became NaN or infinite, and the training was stopped."""


class StopWhenNotFinite(Watcher):
    """Stops the training when a loss is NaN or infinite, and names the step and the first layer that is not finite.

    It looks at the losses and the first trainable weight after every step, at all weights and the losses of the
    validation at epoch ends: TensorFlow's ReLU turns NaN into 0, so that weights can break under a loss that stays
    finite, and the gradient of the first weight has passed through every layer. It raises before callbacks that stand
    behind it are called, so that those that save keep what they saved before.

    The layer is the first, in the order of the network, whose output is not finite on the batch of that step with the
    weights from before it; the model keeps these weights (the optimizer's state is lost: compile again to go on). Where
    the batch is out of reach (several replicas), it is the first layer whose weights are not finite.

    Raises:
        NotFiniteError: In `fit`.
    """

    def __init__(self) -> None:
        super().__init__()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        variables = self.model.variables
        self._before: list[Tensor] = []
        self._read = tf.function(lambda: [variable.value.read_value() for variable in variables])

    def on_batch(self, batch: Any, waiting_seconds: float) -> None:
        super().on_batch(batch, waiting_seconds)
        self._before = []  # frees the memory first
        if self.batch is not None:
            self._before = self._read()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        bad = _losses_not_finite(logs)
        if bad is None and _all_finite(self.model.trainable_variables[:1]):
            return
        layer = self._first_layer("gradient" if bad is None else "loss function")
        bad = bad or "Weights became NaN or infinite under a finite loss"
        raise NotFiniteError(f"{bad} at step {batch + 1} of epoch {self._epoch}, and training stopped. {layer}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        layer = self._layer_with_bad_weights()
        if layer is not None:
            raise NotFiniteError(
                f"Weights are NaN or infinite after the last step of epoch {epoch + 1}, and training stopped. {layer}"
            )
        bad = _losses_not_finite(logs)
        if bad:
            raise NotFiniteError(
                f"{bad} after epoch {epoch + 1}, and training stopped. All weights are finite: compare "
                "the validation images with the training images, and look for variances of batch normalization that "
                "are far too small."
            )

    def _first_layer(self, otherwise: str) -> str:
        if self.batch is None:
            return self._layer_with_bad_weights() or "All weights are finite."
        self._restore_variables()
        images, _, _ = keras.utils.unpack_x_y_sample_weight(self.batch)
        bad = self._layer_with_bad_weights(" since the step before")
        if bad is not None:
            return bad
        layers = [layer for layer in self.model.layers if not isinstance(layer, keras.layers.InputLayer)]
        outputs = keras.Model(self.model.inputs, [layer.output for layer in layers])(images, training=True)
        self._restore_variables()  # the forward pass changed the statistics of batch normalization
        for layer, output in zip(layers, outputs):
            if not _all_finite(output):
                return f"The first layer whose output is not finite on that batch is {layer.name!r}. {REMEDIES}"
        return f"The output of every layer is finite on that batch, and the {otherwise} is not. {REMEDIES}"

    def _layer_with_bad_weights(self, since: str = "") -> str | None:
        layer = next((layer.name for layer in self.model.layers if not _all_finite(layer.variables)), None)
        return layer and f"The first layer whose weights are not finite{since} is {layer!r}. {REMEDIES}"

    def _restore_variables(self) -> None:
        for variable, value in zip(self.model.variables, self._before):
            variable.assign(value)


def _losses_not_finite(logs: Logs | None) -> str | None:
    """Returns a sentence's beginning that names the losses that are NaN or infinite; None without one."""
    losses = {name: value for name, value in (logs or {}).items() if name == "loss" or name.endswith("_loss")}
    bad = [f"{name} = {value}" for name, value in losses.items() if not math.isfinite(value)]
    return f"The {'loss is' if len(bad) == 1 else 'losses are'} not finite ({', '.join(bad)})" if bad else None


def _all_finite(values: Any) -> bool:
    tensors = [keras.ops.convert_to_tensor(value) for value in keras.tree.flatten(values) if value is not None]
    return all(bool(keras.ops.all(keras.ops.isfinite(x))) for x in tensors if keras.backend.is_float_dtype(x.dtype))
