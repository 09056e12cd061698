"""The gradient that each head sends to each row of Table 1."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_inception import architectures, files
from keras_inception.errors import InputError
from keras_inception.network import losses
from keras_inception.network.model import InceptionModel
from keras_inception.training.diagnosis.watcher import head_losses_of
from keras_inception.types import Logs, PathLike, Tensor


def head_gradients(model: InceptionModel, images: Tensor, labels: Any) -> dict[str, dict[str, Tensor]]:
    """Computes the gradient of each head's loss, by itself and unweighted, as a step of training on the batch has it.

    The pass runs in training mode (statistics of the batch, dropout); statistics and random state of the model are put
    back afterwards, so that a training goes on as if it had not been.

    Args:
        model: A compiled `InceptionModel`.
        images: `(batch, height, width, channels)`, preprocessed.
        labels: `(batch,)` or one-hot, or by head.

    Returns:
        A dict by output name of dicts by the path of each trainable weight, such as `"conv1_7x7_s2/kernel"`; the
        gradients are tensors, 0 where the head's loss does not depend on the weight.

    Raises:
        InputError: The model is not compiled, or a label names no class.
    """
    head_losses = head_losses_of(model)
    model.check_batch(images, labels)
    names, weights = model.output_names, model.trainable_variables
    kept = [(variable, keras.ops.copy(variable.value)) for variable in model.non_trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        predictions = keras.tree.flatten(model(images, training=True))
        spread = zip(names, head_losses.losses, losses.spread(labels, names, "y"), predictions)
        values = {name: loss(y, y_pred) for name, loss, y, y_pred in spread if loss is not None}
    for variable, value in kept:
        variable.assign(value)
    zero = tf.UnconnectedGradients.ZERO
    found = {}
    for name, value in values.items():
        gradients = tape.gradient(value, [weight.value for weight in weights], unconnected_gradients=zero)
        found[name] = {weight.path: gradient for weight, gradient in zip(weights, gradients)}
    return found


def gradient_norms(model: InceptionModel, images: Tensor, labels: Any) -> dict[str, dict[str, float]]:
    """Measures the gradient that reaches each row of Table 1 from each head's loss, unweighted.

    Args:
        model: A compiled `InceptionModel` that knows its architecture.
        images: `(batch, height, width, channels)`, preprocessed.
        labels: `(batch,)` or one-hot, or by head.

    Returns:
        A dict by output name of dicts by row: the L2 norm of the gradient over all trainable weights of the row. The
        rows are those of the architecture that have such weights, in order, then `"linear"` (the main classifier)
        and the auxiliary heads. A row behind a head's tap has exactly 0 from that head.

    Raises:
        InputError: The model is not compiled, or does not know its architecture.
    """
    owners = architectures.layers_by_owner(model)
    paths = {row: [w.path for layer in layers for w in layer.trainable_variables] for row, layers in owners.items()}
    rows = {row: found for row, found in paths.items() if found}
    return {
        head: {row: float(tf.linalg.global_norm([gradients[path] for path in paths])) for row, paths in rows.items()}
        for head, gradients in head_gradients(model, images, labels).items()
    }


class GradientFlow(keras.callbacks.Callback):
    """Logs the gradient norm that reaches each row of Table 1 from each of the losses, on one batch.

    A row of the CSV file is one head and one row of the network: `epoch` (epochs finished; 0 is before the first),
    `head`, `loss_weight` (by which training multiplies the head's gradient; the norm is without it), `row`,
    `gradient_norm`. A training that is resumed goes on in the same file.

    Args:
        images: The batch, `(batch, height, width, channels)`, preprocessed.
        labels: `(batch,)` or one-hot, or by head.
        path: The CSV file.
        every: Epochs from one measurement to the next, at least 1.

    Raises:
        InputError: `every` is below 1.
    """

    FIELDS = ("epoch", "head", "loss_weight", "row", "gradient_norm")

    def __init__(self, images: Tensor, labels: Any, path: PathLike, *, every: int = 1):
        super().__init__()
        if every < 1:
            raise InputError(f"`every` must be at least 1. Received: every={every}")
        self.images: Tensor = images
        self.labels: Any = labels
        self.path: Path = Path(path)
        self.every: int = every

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._rows: list[dict[str, Any]] = []
        self._begun = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if not self._begun:
            self._begun = True
            of_this_training = epoch and self.path.is_file()
            earlier = files.read_table(self.path, ["epoch"]) if of_this_training else []
            self._rows = [row for row in earlier if int(row["epoch"]) <= epoch]
            if not any(int(row["epoch"]) == epoch for row in self._rows):
                self._measure(epoch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if (epoch + 1) % self.every == 0:
            self._measure(epoch + 1)

    def _measure(self, epoch: int) -> None:
        weights = dict(zip(self.model.output_names, head_losses_of(self.model).weights))
        for head, norms in gradient_norms(self.model, self.images, self.labels).items():
            found = ((epoch, head, weights[head], row, norm) for row, norm in norms.items())
            self._rows += [dict(zip(self.FIELDS, values)) for values in found]
        files.write_table(self.path, self._rows, self.FIELDS)
