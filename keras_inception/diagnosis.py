"""What is wrong with a training: callbacks that warn or stop, and the gradient that each head sends to each row.

The callbacks report through a function `report(message)`; by default it is Python's `warnings.warn`, as Keras's own
callbacks do it. `callbacks()` returns those that belong into every training.
"""

import csv
import importlib.util
import math
import os
import time
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_inception import architectures, evaluation, losses
from keras_inception.heads import MAIN

# Shares of the loss that a constant answer has. Above AT_CHANCE a head has not left it, below LEARNS it has learned
# something; a head between the two is neither accused nor a witness. Ours: in healthy trainings of the paper's network
# on digits a slow head passes from 100% to 87% within one epoch, and a stuck one stays within 1% of chance.
AT_CHANCE, LEARNS = 0.95, 0.8


class NotFiniteError(RuntimeError):
    """A loss, or a weight, became NaN or infinite, and the training was stopped."""


def warn(message):
    """Reports a message as Python's warning."""
    warnings.warn(message, stacklevel=2)


def callbacks(report=warn):
    """Returns the callbacks that belong into every training.

    They must stand before those that write files, so that nothing is saved of a step that made a loss NaN. Together
    they keep a second copy of the model's variables in memory.

    Args:
        report: Called with each message, a sentence or more without a line break.

    Returns:
        A list of Keras callbacks.
    """
    return [InputPipeline(report), StopWhenNotFinite(), HeadsAtChance(report), ValidationAtChance(report)]


class _Watcher(keras.callbacks.Callback):
    """A callback that sees the batch of each step; `report` is called with each message."""

    def __init__(self, report=warn):
        super().__init__()
        self.report = report

    def on_train_begin(self, logs=None):
        self._steps = _Steps.of(self.model)

    def on_train_end(self, logs=None):
        _Steps.leave(self.model)


class HeadsAtChance(_Watcher):
    """Reports, once a head, that a head has not left ln(classes) while another learns, or that none has.

    It looks at epoch ends, at the lower of a head's losses in training and in validation. A head is reported when it
    was above 95% of chance while another was below 80% for 3 epochs in a row and 100 steps, or for 10,000 steps: in
    healthy trainings one head may lag behind another for an epoch or two of small data. All heads are reported when
    they stood above 95% in each of the first 3 epochs and for 200 steps.

    Chance is the loss of the best constant answer, counted from the labels of the first 1,000 batches: ln(classes)
    where the classes are even, less where they are not. Losses other than cross-entropy, and heads whose loss has a
    weight of 0, are passed over.

    Args:
        report: Called with each message.
    """

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._lag = {}  # by head, for how many epochs and steps in a row another head has been learning
        self._nothing_learns = (0, 0)  # from the start; None once a head has left chance
        self._reported = set()

    def on_train_batch_end(self, batch, logs=None):
        self._steps_in_epoch = batch + 1

    def on_epoch_end(self, epoch, logs=None):
        chance, steps = self._steps.chance.loss, self._steps_in_epoch
        by_head = _losses_by_head(self.model, logs)
        at_chance = [head for head, loss in by_head.items() if loss > AT_CHANCE * chance]
        learning = [head for head, loss in by_head.items() if loss < LEARNS * chance]
        self._lag = {head: _longer(self._lag.get(head, (0, 0)), steps) for head in at_chance if learning}
        for head, (lag_epochs, lag_steps) in self._lag.items():
            enough = (lag_epochs >= 3 and lag_steps >= 100) or lag_steps >= 10_000
            if enough and head not in self._reported:
                self._reported.add(head)
                self._report_head(head, min(learning, key=by_head.get), by_head, epoch + 1)
        if len(at_chance) < len(by_head) or not by_head:
            self._nothing_learns = None
        elif self._nothing_learns is not None:
            epochs, steps = self._nothing_learns = _longer(self._nothing_learns, steps)
            if epochs >= 3 and steps >= 200:
                self._nothing_learns = None
                self._report_all(by_head, epochs, steps)

    def _report_head(self, head, other, by_head, epoch):
        self.report(
            f"Head {_with_row(self.model, head)} has not left {self._steps.chance} after {_counted(epoch, 'epoch')}: "
            f"its loss is {by_head[head]:.3f}, while {_with_row(self.model, other)} learns, at {by_head[other]:.3f}. "
            f"What helps: {self._cures()}."
        )

    def _report_all(self, by_head, epoch, steps):
        heads = ", ".join(f"{_with_row(self.model, head)} {loss:.3f}" for head, loss in by_head.items())
        self.report(
            f"Nothing learns: after {_counted(epoch, 'epoch')} ({steps} steps) no head has left {self._steps.chance}; "
            f"the losses are {heads}. Look first whether images and labels belong together. "
            f"What helps otherwise: {self._cures()}, or a higher rate where it is below 1e-5."
        )

    def _cures(self):
        cures = ["a lower learning rate", "a warm-up", 'He initialisation (`kernel_initializer="he_normal"`)']
        return ", ".join(cures) + ("" if _batch_norms(self.model) else ', `architecture="googlenet_bn"`')


class StopWhenNotFinite(_Watcher):
    """Stops the training when a loss is NaN or infinite, and names the step and the first layer that is not finite.

    It looks at the losses and the first trainable weight after every step, at all weights and the losses of the
    validation at epoch ends: TensorFlow's ReLU turns NaN into 0, so that a batch with NaN can break the weights under a
    loss that stays finite, and the gradient of the first weight has passed through every layer. It raises before
    callbacks that stand behind it are called, so that those that save keep what they saved before.

    The layer is the first, in the order of the network, whose output is not finite on the batch of that step with the
    weights from before it; the model keeps these weights (the optimizer's state is lost: compile again to go on). Where
    the batch is out of reach (several replicas, `steps_per_execution` above 1), it is the first layer whose weights are
    not finite.

    Raises:
        NotFiniteError: In `fit`.
    """

    def __init__(self):
        super().__init__()

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._steps.keep_variables = True

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        bad = _losses_not_finite(logs)
        if bad is None and _all_finite(self.model.trainable_variables[:1]):
            return
        layer = self._first_layer("gradient" if bad is None else "loss function")
        _Steps.leave(self.model)  # `on_train_end` will not be called
        bad = bad or "Weights became NaN or infinite under a finite loss"
        raise NotFiniteError(f"{bad} at step {batch + 1} of epoch {self._epoch}, and training stopped. {layer}")

    def on_epoch_end(self, epoch, logs=None):
        layer = _first_layer_with_bad_weights(self.model)
        if layer is not None:
            raise NotFiniteError(
                f"Weights are NaN or infinite after the last step of epoch {epoch + 1}, and training stopped. "
                f"{_bad_weights(layer)}"
            )
        bad = _losses_not_finite(logs)
        if bad:
            raise NotFiniteError(
                f"{bad} after epoch {epoch + 1}, and training stopped. All weights are finite: look for NaN in the "
                "validation images, or for variances of batch normalization that are far too small."
            )

    def _first_layer(self, otherwise):
        steps = self._steps
        if steps.batch is None:
            layer = _first_layer_with_bad_weights(self.model)
            return "All weights are finite." if layer is None else _bad_weights(layer)
        steps.restore_variables()
        images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(steps.batch)
        for name, values in (("images", images), ("labels", labels), ("sample weights", sample_weight)):
            if not _all_finite(values):
                return f"The {name} of that batch hold NaN or infinite values: look at the input pipeline."
        layer = _first_layer_with_bad_weights(self.model)
        if layer is not None:
            return _bad_weights(layer, "since the step before")
        layer = _first_layer_with_bad_output(self.model, images)
        steps.restore_variables()  # the forward pass changed the statistics of batch normalization
        if layer is None:
            return f"The output of every layer is finite on that batch, and the {otherwise} is not. {CURES}"
        return f"The first layer whose output is not finite on that batch is {layer!r}. {CURES}"


CURES = "What helps: a lower learning rate, a warm-up, `clipnorm` in the optimizer, float32 or bfloat16 for float16."


class ValidationAtChance(_Watcher):
    """Reports, once, that validation is at chance while training is not.

    It looks at epoch ends at the main head. It reports when the loss in training is below 80% of chance, that in
    validation above 95%, and accuracy in validation has less than a quarter of what training has above that of a
    constant answer: a network that has merely overfitted answers better than that. It then runs the last training
    batch in inference mode; when that is at chance too, the statistics of batch normalization lag, else the images
    of the validation differ.

    Args:
        report: Called with the message.
    """

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._reported = False

    def on_epoch_end(self, epoch, logs=None):
        chance, names = self._steps.chance, self.model.output_names
        training, validation = (evaluation.per_head(logs or {}, names, prefix)[names[0]] for prefix in ("", "val_"))
        if self._reported or "loss" not in validation or names[0] not in _losses_by_head(self.model, logs):
            return
        if training["loss"] >= LEARNS * chance.loss or validation["loss"] <= AT_CHANCE * chance.loss:
            return
        accuracy_known = "accuracy" in training and "accuracy" in validation
        if accuracy_known and validation["accuracy"] > chance.accuracy + (training["accuracy"] - chance.accuracy) / 4:
            return
        reason = self._reason(chance, accuracy_known)
        if reason:
            self._reported = True
            self.report(
                f"Validation is at chance after {_counted(epoch + 1, 'epoch')} ({names[0]}: {_figures(validation)}) "
                f"while training is not ({_figures(training)}). {reason}"
            )

    def _reason(self, chance, accuracy_known):
        loss, norms = self._loss_in_inference_mode(), _batch_norms(self.model)
        if norms and (loss is None or loss > LEARNS * chance.loss):
            momentum = max(layer.momentum for layer in norms)
            steps = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
            seen = "" if loss is None else f": in inference mode the last training batch has a loss of {loss:.3f} too"
            return (
                f"The statistics of batch normalization lag{seen}. With a momentum of {momentum:g}, "
                f"{momentum**steps:.0%} of them are the initial values after {_counted(steps, 'step')}, and they are "
                f"{_counted(round(1 / (1 - momentum)), 'step')} behind the weights. "
                f"What helps: {'a momentum of 0.9, ' if momentum > 0.9 else ''}"
                "more steps (smaller batches, more epochs), a lower learning rate."
            )
        if not accuracy_known:
            return None  # a network that has merely overfitted looks the same without it
        seen = "" if loss is None else f"In inference mode the last training batch does well (loss {loss:.3f}). "
        return (
            f"{seen}Look whether the validation images have the preprocessing and the order of classes of the "
            "training images."
        )

    def _loss_in_inference_mode(self):
        if self._steps.batch is None:
            return None
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(self._steps.batch)
        predictions = self.model(images, training=False)
        head_losses = self.model._head_losses
        labels = losses.per_head(labels, self.model.output_names, "y")[0]
        prediction = predictions[0] if isinstance(predictions, (list, tuple)) else predictions
        return float(head_losses.losses[0](labels, prediction))


class InputPipeline(_Watcher):
    """Reports, once, that training waits for the input pipeline, with the time of waiting and that of computing.

    In Keras 3.15 on TensorFlow, the batch is drawn inside the train function, between `on_train_batch_begin` and
    `on_train_batch_end`; here it is drawn beforehand and timed by itself. The first batch of each epoch, which fills
    the buffers, and the first two steps, which trace and warm up, do not count.

    It looks after the first 100 steps that count and at epoch ends, from 10 on. It reports when the waiting takes more
    than a fifth of the time and more than 2 ms a batch: with a pipeline that keeps up, and prefetches, a batch is drawn
    in less than that. One replica only.

    Args:
        report: Called with the message.
    """

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._count, self._waiting, self._computing = -1, 0.0, 0.0  # of two early steps, the first is a first batch
        self._reported = False

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0 or self._steps.waiting is None or self._reported:
            return
        self._count += 1
        if self._count > 0:
            self._waiting += self._steps.waiting
            self._computing += time.perf_counter() - self._steps.computing_since
        if self._count == 100:
            self._look()

    def on_epoch_end(self, epoch, logs=None):
        if self._count >= 10:
            self._look()

    def _look(self):
        waiting, computing = 1e3 * self._waiting / self._count, 1e3 * self._computing / self._count
        share = waiting / (waiting + computing)
        if share > 0.2 and waiting > 2 and not self._reported:
            self._reported = True
            self.report(
                f"Training waits for the input pipeline: {waiting:.1f} ms for each batch, beside {computing:.1f} ms of "
                f"computing, {share:.0%} of the time. What helps: `.prefetch(tf.data.AUTOTUNE)` at the end of the "
                "pipeline, `num_parallel_calls=tf.data.AUTOTUNE` in each `map`, `.cache()` after the decoding where "
                "the images fit into memory, and smaller image files."
            )


def head_gradients(model, images, labels):
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
        ValueError: The model is not compiled.
    """
    head_losses = _head_losses(model)
    names, weights = model.output_names, model.trainable_variables
    kept = [(variable, keras.ops.copy(variable.value)) for variable in model.non_trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        predictions = model(images, training=True)
        predictions = predictions if isinstance(predictions, (list, tuple)) else [predictions]
        spread = zip(names, head_losses.losses, losses.per_head(labels, names, "y"), predictions)
        values = {name: loss(y, y_pred) for name, loss, y, y_pred in spread if loss is not None}
    for variable, value in kept:
        variable.assign(value)
    zero = tf.UnconnectedGradients.ZERO
    found = {}
    for name, value in values.items():
        gradients = tape.gradient(value, [weight.value for weight in weights], unconnected_gradients=zero)
        found[name] = {weight.path: gradient for weight, gradient in zip(weights, gradients)}
    return found


def gradient_norms(model, images, labels):
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
        ValueError: The model is not compiled, or does not know its architecture.
    """
    rows = _weights_by_row(model)
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
        log_dir: A folder for TensorBoard, where the norms are `gradient_norm/HEAD/ROW`; by default none.

    Raises:
        ValueError: `every` is below 1, or `log_dir` is given and the package tensorboard is not installed.
    """

    FIELDS = ("epoch", "head", "loss_weight", "row", "gradient_norm")

    def __init__(self, images, labels, path, *, every=1, log_dir=None):
        super().__init__()
        if every < 1:
            raise ValueError(f"`every` must be at least 1. Received: every={every}")
        if log_dir is not None and importlib.util.find_spec("tensorboard") is None:
            raise ValueError(
                "TensorBoard logs need the package tensorboard, which TensorFlow does not bring. Install it with "
                f'`pip install "keras-inception[tensorboard]"`, or leave `log_dir` out. Received: log_dir={log_dir!r}'
            )
        self.images, self.labels = images, labels
        self.path, self.every, self.log_dir = Path(path), every, log_dir

    def on_train_begin(self, logs=None):
        self._rows = None
        self._writer = None if self.log_dir is None else tf.summary.create_file_writer(os.fspath(self.log_dir))

    def on_epoch_begin(self, epoch, logs=None):
        if self._rows is None:
            self._rows = self._rows_until(epoch)
            if not any(int(row["epoch"]) == epoch for row in self._rows):
                self._measure(epoch)

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            self._measure(epoch + 1)

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()

    def _rows_until(self, epoch):
        """Returns what an earlier part of this training wrote, up to the epoch at which it is resumed."""
        if epoch == 0 or not self.path.is_file():
            return []
        with open(self.path, newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if int(row["epoch"]) <= epoch]

    def _measure(self, epoch):
        weights = dict(zip(self.model.output_names, _head_losses(self.model).weights))
        for head, norms in gradient_norms(self.model, self.images, self.labels).items():
            for row, norm in norms.items():
                self._rows.append(dict(zip(self.FIELDS, (epoch, head, weights[head], row, norm))))
                if self._writer is not None:
                    with self._writer.as_default(step=epoch):
                        tf.summary.scalar(f"gradient_norm/{head}/{row}", norm)
        aside = self.path.with_name(f"part-{self.path.name}")
        with open(aside, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.FIELDS)
            writer.writeheader()
            writer.writerows(self._rows)
        os.replace(aside, self.path)


class _Steps:
    """A model's train function that draws the batch itself, so that callbacks can time it, and look at it afterwards.

    Keras 3.15 on TensorFlow gives its train function the iterator, draws the batch within it and forgets it. Here the
    batch is drawn first and given to Keras's function as an iterator of one batch, within a `tf.function` of the
    data's own specification (without it a smaller last batch would be traced anew). Under several replicas, with
    `steps_per_execution` above 1, and on other backends Keras's function runs as it is, and `batch` stays None.

    Attributes:
        batch: What the pipeline gave for the last step, or None.
        waiting: Seconds for which the last step waited for its batch, or None.
        computing_since: When the last step had its batch, in seconds of `time.perf_counter`.
        chance: The `_Chance` of the labels of the first 1,000 batches.
        keep_variables: Whether to keep the variables from before each step, for `restore_variables`.
    """

    def __init__(self, model):
        self.function = model.train_function
        self.begin(model)
        self._variables = model.variables
        self._read = tf.function(lambda: [variable.value.read_value() for variable in self._variables])
        self._eager = model.run_eagerly
        self._specification = self._compiled = None

    def begin(self, model):
        """Forgets an earlier training; what was traced stays."""
        self.batch = self.waiting = self.computing_since = self._before = None
        self.chance = _Chance(model)
        self.keep_variables = False
        self._batches = 0

    @classmethod
    def of(cls, model):
        """Returns the one that stands in the place of the model's train function, or puts it there."""
        function = model.train_function
        if isinstance(function, cls):
            return function
        steps = getattr(function, "in_steps", None)
        if steps is None:
            steps = cls(model)
        else:
            steps.begin(model)
        if keras.backend.backend() == "tensorflow" and model.steps_per_execution == 1:
            model.train_function = steps
        return steps

    @classmethod
    def leave(cls, model):
        """Puts Keras's own function back, and leaves itself with it: tracing the network again takes seconds."""
        steps = model.train_function
        if isinstance(steps, cls):
            model.train_function = steps.function
            steps.function.in_steps = steps

    def __call__(self, iterator):
        if not isinstance(iterator, tf.data.Iterator):
            return self.function(iterator)
        self.batch = self._before = None  # frees the memory before the next one comes
        begin = time.perf_counter()
        self.batch = next(iterator)
        self.computing_since = time.perf_counter()
        self.waiting = self.computing_since - begin
        if self._batches < 1000:
            self._batches += 1
            self.chance.update(self.batch)
        if self.keep_variables:
            self._before = self._read()
        return self._step(iterator.element_spec)(self.batch)

    def restore_variables(self):
        """Gives the model's variables the values that they had before the last step."""
        for variable, value in zip(self._variables, self._before):
            variable.assign(value)

    def _step(self, specification):
        if self._compiled is None or specification != self._specification:
            self._specification = specification

            def step(batch):
                return self.function(iter([batch]))

            self._compiled = step
            if not self._eager:
                self._compiled = tf.function(step, input_signature=[specification], autograph=False)
        return self._compiled


class _Chance:
    """What a constant answer reaches: ln(classes) for even classes, less for others."""

    def __init__(self, model):
        self.names, self.classes = model.output_names, model.classes
        self.counts, self.examples = np.zeros(self.classes), 0
        self.smoothing = getattr(_head_losses(model).losses[0], "label_smoothing", 0)

    def update(self, batch):
        _, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        labels, sample_weight = (losses.per_head(values, self.names, "y")[0] for values in (labels, sample_weight))
        labels = np.asarray(labels)
        weights = np.ones(len(labels)) if sample_weight is None else np.reshape(sample_weight, len(labels))
        if labels.ndim == 2 and labels.shape[1] == self.classes:
            self.counts += weights @ labels
        else:
            self.counts += np.bincount(labels.astype("int64").reshape(-1), weights, self.classes)
        self.examples += len(labels)

    @property
    def _shares(self):
        total = self.counts.sum()
        shares = self.counts / total if total > 0 else np.full(self.classes, 1 / self.classes)
        return (1 - self.smoothing) * shares + self.smoothing / self.classes

    @property
    def loss(self):
        shares = self._shares
        weight = self.counts.sum() / self.examples if self.examples else 1.0
        return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum() * weight)

    @property
    def accuracy(self):
        return float(self._shares.max())

    def __str__(self):
        uniform = f"ln({self.classes}) = {math.log(self.classes):.3f}"
        if abs(self.loss / math.log(self.classes) - 1) < 0.01:
            return uniform
        return f"chance, {self.loss:.3f} for these frequencies of the classes ({uniform})"


def _head_losses(model):
    head_losses = getattr(model, "_head_losses", None)
    if head_losses is None:
        raise ValueError(
            "The model must be an `InceptionModel` that is compiled: use `compile_model`. "
            f"Received: {type(model).__name__} {model.name!r}"
        )
    return head_losses


def _losses_by_head(model, logs):
    """Returns the lower of the losses in training and validation of each head that learns by cross-entropy."""
    head_losses, names = _head_losses(model), model.output_names
    if len(names) == 1 and model.losses:
        return {}  # what Keras logs holds the penalties of the weights
    training, validation = (evaluation.per_head(logs or {}, names, prefix) for prefix in ("", "val_"))
    entropies = (keras.losses.SparseCategoricalCrossentropy, keras.losses.CategoricalCrossentropy)
    return {
        name: min(values["loss"] for values in (training[name], validation[name]) if "loss" in values)
        for name, loss, weight in zip(names, head_losses.losses, head_losses.weights)
        if isinstance(loss, entropies) and weight and "loss" in training[name]
    }


def _losses_not_finite(logs):
    """Returns a sentence's beginning that names the losses that are NaN or infinite; None without one."""
    bad = {name: value for name, value in (logs or {}).items() if name == "loss" or name.endswith("_loss")}
    bad = {name: value for name, value in bad.items() if not math.isfinite(value)}
    if not bad:
        return None
    return f"The {'loss is' if len(bad) == 1 else 'losses are'} not finite (" + ", ".join(
        f"{name} = {value}" for name, value in bad.items()
    ) + ")"  # fmt: skip


def _all_finite(values):
    tensors = [keras.ops.convert_to_tensor(value) for value in keras.tree.flatten(values) if value is not None]
    return all(bool(keras.ops.all(keras.ops.isfinite(x))) for x in tensors if keras.backend.is_float_dtype(x.dtype))


def _first_layer_with_bad_weights(model):
    return next((layer.name for layer in model.layers if not _all_finite(layer.variables)), None)


def _first_layer_with_bad_output(model, images):
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    outputs = keras.Model(model.inputs, [layer.output for layer in layers])(images, training=True)
    return next((layer.name for layer, output in zip(layers, outputs) if not _all_finite(output)), None)


def _bad_weights(layer, since=""):
    return f"The first layer whose weights are not finite{since and f' {since}'} is {layer!r}. {CURES}"


def _batch_norms(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable]


def _with_row(model, head):
    """Returns the head's name and, of an architecture, the row that it stands on: `aux1 (on inception_4a)`."""
    architecture = architectures.ARCHITECTURES.get(getattr(model, "architecture", None))
    if architecture is None:
        return head
    taps = {MAIN: architecture.rows[-1].name, **{aux.name: aux.tap for aux in architecture.auxiliary_heads}}
    return f"{head} (on {taps[head]})" if head in taps else head


def _weights_by_row(model):
    """Returns the paths of the trainable weights of each row that has any, as `gradient_norms` names the rows."""
    architecture = architectures.of(model)
    rows = {}
    for layer in model.layers:
        owner = architecture.owner(layer.name)
        if owner is not None and layer.trainable_variables:
            rows.setdefault(owner, []).extend(weight.path for weight in layer.trainable_variables)
    order = [*(row.name for row in architecture.rows), "linear", *(head.name for head in architecture.auxiliary_heads)]
    return {row: rows[row] for row in order if row in rows}


def _figures(metrics):
    accuracy = f", accuracy {metrics['accuracy']:.1%}" if "accuracy" in metrics else ""
    return f"loss {metrics['loss']:.3f}{accuracy}"


def _longer(lag, steps):
    return lag[0] + 1, lag[1] + steps


def _counted(count, noun):
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
