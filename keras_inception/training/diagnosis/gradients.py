"""The gradient that each head sends to each row of Table 1."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_inception import architectures, files
from keras_inception.errors import InputError
from keras_inception.network import losses
from keras_inception.network.loss_weights import at
from keras_inception.network.model import InceptionModel
from keras_inception.training.diagnosis.watcher import head_losses_of
from keras_inception.types import Logs, PathLike, Tensor


@dataclass(frozen=True)
class RowGradients:
    """The gradient of one head's loss at one row.

    Attributes:
        weights: The L2 norm over all trainable weights of the row; None for a row without any, such as a pooling.
        output: The norm at the row's output, over the batch; None for what is not of the trunk: the heads' own layers.
        factor: By what the row's Jacobian multiplies that norm on its way to the image: the norm at the output of the
            row before it, divided by `output`. The product of the factors of several rows is what a gradient gains or
            loses on its way through them. None where there is no row before it, or no gradient.
    """

    weights: float | None
    output: float | None
    factor: float | None


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
    return {head: weights for head, (weights, _) in _backward(model, images, labels, {}).items()}


def row_gradients(model: InceptionModel, images: Tensor, labels: Any) -> dict[str, dict[str, RowGradients]]:
    """Measures the gradient of each head's loss at each row of Table 1, at its weights and at its output, unweighted.

    Args:
        model: A compiled `InceptionModel` that knows its architecture.
        images: `(batch, height, width, channels)`, preprocessed.
        labels: `(batch,)` or one-hot, or by head.

    Returns:
        A dict by output name of dicts by row: all rows of the architecture, in order, then `"linear"` (the main
        classifier) and the auxiliary heads. A row behind a head's tap has exactly 0 from that head.

    Raises:
        InputError: The model is not compiled, or does not know its architecture.
    """
    head_losses_of(model)
    owners = architectures.layers_by_owner(model)
    trunk = [row.name for row in architectures.of(model).rows if row.name in owners]
    paths = {owner: [w.path for layer in layers for w in layer.trainable_variables] for owner, layers in owners.items()}
    found = _backward(model, images, labels, {row: owners[row][-1].output for row in trunk})
    return {head: dict(_by_row(paths, trunk, *gradients)) for head, gradients in found.items()}


def _by_row(
    paths: Mapping[str, Sequence[str]], trunk: Sequence[str], weights: Mapping[str, Tensor], maps: Mapping[str, Tensor]
) -> Iterator[tuple[str, RowGradients]]:
    outputs = {row: _norm([maps[row]]) for row in trunk}
    before = dict(zip(trunk[1:], trunk))
    for owner, names in paths.items():
        output = outputs.get(owner)
        factor = outputs[before[owner]] / output if output and owner in before else None
        yield owner, RowGradients(_norm([weights[name] for name in names]) if names else None, output, factor)


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(tf.linalg.global_norm([tf.cast(x, tf.float32) if x.dtype.size < 4 else x for x in tensors]))


def _backward(
    model: InceptionModel, images: Tensor, labels: Any, maps: Mapping[str, keras.KerasTensor]
) -> dict[str, tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Returns by head the gradients of its loss, by the path of each trainable weight and by the names of the maps."""
    head_losses = head_losses_of(model)
    model.check_batch(images, labels)
    names, weights = model.output_names, model.trainable_variables
    network = keras.Model(model.inputs, [*model.outputs, *maps.values()]) if maps else model
    kept = [(variable, keras.ops.copy(variable.value)) for variable in model.non_trainable_variables]
    images = tf.convert_to_tensor(images)
    with tf.GradientTape(persistent=True) as tape:
        if maps:
            tape.watch(images)  # also the maps of rows that do not learn
        outputs = keras.tree.flatten(network(images, training=True))
        predictions, found_maps = outputs[: len(names)], outputs[len(names) :]
        spread = zip(names, head_losses.losses, losses.spread(labels, names, "y"), predictions)
        values = {name: loss(y, y_pred) for name, loss, y, y_pred in spread if loss is not None}
    for variable, value in kept:
        variable.assign(value)
    sources, zero = [*(weight.value for weight in weights), *found_maps], tf.UnconnectedGradients.ZERO
    found = {}
    for name, value in values.items():
        gradients = tape.gradient(value, sources, unconnected_gradients=zero)
        of_weights, of_maps = gradients[: len(weights)], gradients[len(weights) :]
        found[name] = dict(zip((weight.path for weight in weights), of_weights)), dict(zip(maps, of_maps))
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
    return {
        head: {row: found.weights for row, found in rows.items() if found.weights is not None}
        for head, rows in row_gradients(model, images, labels).items()
    }


class GradientFlow(keras.callbacks.Callback):
    """Logs the gradient of each of the losses at each row of Table 1, on one batch.

    A row of the CSV file is one head and one row of the network: `epoch` (epochs finished; 0 is before the first),
    `head`, `loss_weight` (by which training multiplies the head's gradient; the norms are without it), `row`,
    `gradient_norm` (over the row's weights), `output_gradient_norm` and `jacobian_factor`, see `RowGradients`; a cell
    is empty where there is no such thing. A training that is resumed goes on in the same file.

    Args:
        images: The batch, `(batch, height, width, channels)`, preprocessed.
        labels: `(batch,)` or one-hot, or by head.
        path: The CSV file.
        every: Epochs from one measurement to the next, at least 1.

    Raises:
        InputError: `every` is below 1.
    """

    FIELDS = ("epoch", "head", "loss_weight", "row", "gradient_norm", "output_gradient_norm", "jacobian_factor")

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
        steps = int(self.model.optimizer.iterations)
        weights = dict(zip(self.model.output_names, head_losses_of(self.model).weights))
        for head, rows in row_gradients(self.model, self.images, self.labels).items():
            for row, found in rows.items():
                values = (epoch, head, at(weights[head], steps), row, found.weights, found.output, found.factor)
                self._rows.append(dict(zip(self.FIELDS, values)))
        files.write_table(self.path, self._rows, self.FIELDS)
