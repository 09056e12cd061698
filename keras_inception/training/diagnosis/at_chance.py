"""Heads, and validation, that answer no better than a constant."""

import keras

from keras_inception.errors import counted
from keras_inception.network.logs import logs_by_head
from keras_inception.network.losses import spread
from keras_inception.network.model import InceptionModel
from keras_inception.training.diagnosis.watcher import AT_CHANCE, LEARNS, Chance, Watcher, head_losses_of
from keras_inception.types import Logs


class HeadsAtChance(Watcher):
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

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        # For how many epochs and steps in a row, by head, another head has been learning.
        self._lag: dict[str, tuple[int, int]] = {}
        self._nothing_learns: tuple[int, int] | None = (0, 0)  # from the start; None once a head has left chance
        self._reported: set[str] = set()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._steps_in_epoch = batch + 1

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        chance, steps = self.chance.loss, self._steps_in_epoch
        by_head = _losses_by_head(self.model, logs)
        at_chance = [head for head, loss in by_head.items() if loss > AT_CHANCE * chance]
        learning = [head for head, loss in by_head.items() if loss < LEARNS * chance]
        self._lag = {head: _longer(self._lag.get(head, (0, 0)), steps) for head in at_chance if learning}
        for head, (lag_epochs, lag_steps) in self._lag.items():
            enough = (lag_epochs >= 3 and lag_steps >= 100) or lag_steps >= 10_000
            if enough and head not in self._reported:
                self._reported.add(head)
                other = min(learning, key=by_head.__getitem__)
                self.report(
                    f"Head {_with_row(self.model, head)} has not left {self.chance} after "
                    f"{counted(epoch + 1, 'epoch')}: its loss is {by_head[head]:.3f}, while "
                    f"{_with_row(self.model, other)} learns, at {by_head[other]:.3f}. What helps: {self._remedies()}."
                )
        if len(at_chance) < len(by_head) or not by_head:
            self._nothing_learns = None
        elif self._nothing_learns is not None:
            self._nothing_learns = epochs, total = _longer(self._nothing_learns, steps)
            if epochs >= 3 and total >= 200:
                self._nothing_learns = None
                heads = ", ".join(f"{_with_row(self.model, head)} {loss:.3f}" for head, loss in by_head.items())
                self.report(
                    f"Nothing learns: after {counted(epochs, 'epoch')} ({total} steps) no head has left "
                    f"{self.chance}; the losses are {heads}. Look first whether images and labels belong together. "
                    f"What helps otherwise: {self._remedies()}, or a higher rate where it is below 1e-5."
                )

    def _remedies(self) -> str:
        remedies = 'a lower learning rate, a warm-up, He initialisation (`kernel_initializer="he_normal"`)'
        return remedies if _batch_norms(self.model) else f'{remedies}, `architecture="googlenet_bn"`'


class ValidationAtChance(Watcher):
    """Reports, once, that validation is at chance while training is not.

    It looks at epoch ends at the main head. It reports when the loss in training is below 80% of chance, that in
    validation above 95%, and accuracy in validation has less than a quarter of what training has above that of a
    constant answer: a network that has merely overfitted answers better than that. It then runs the last training
    batch in inference mode; when that is at chance too, the statistics of batch normalization lag, else the images
    of the validation differ.

    Args:
        report: Called with the message.
    """

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        self._reported = False

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        chance, names = self.chance, self.model.output_names
        training, validation = (logs_by_head(logs or {}, names, prefix)[names[0]] for prefix in ("", "val_"))
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
                f"Validation is at chance after {counted(epoch + 1, 'epoch')} ({names[0]}: {_figures(validation)}) "
                f"while training is not ({_figures(training)}). {reason}"
            )

    def _reason(self, chance: Chance, accuracy_known: bool) -> str | None:
        loss, norms = self._loss_in_inference_mode(), _batch_norms(self.model)
        if norms and (loss is None or loss > LEARNS * chance.loss):
            momentum = max(layer.momentum for layer in norms)
            steps = int(self.model.optimizer.iterations.numpy())
            seen = "" if loss is None else f": in inference mode the last training batch has a loss of {loss:.3f} too"
            return (
                f"The statistics of batch normalization lag{seen}. With a momentum of {momentum:g}, "
                f"{momentum**steps:.0%} of them are the initial values after {counted(steps, 'step')}, and they are "
                f"{counted(round(1 / (1 - momentum)), 'step')} behind the weights. "
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

    def _loss_in_inference_mode(self) -> float | None:
        if self.batch is None:
            return None
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(self.batch)
        labels = spread(labels, self.model.output_names, "y")[0]
        prediction = keras.tree.flatten(self.model(images, training=False))[0]
        return float(self.model.head_losses.losses[0](labels, prediction))


def _losses_by_head(model: InceptionModel, logs: Logs | None) -> dict[str, float]:
    """Returns the lower of the losses in training and validation of each head that learns by cross-entropy."""
    head_losses, names = head_losses_of(model), model.output_names
    if len(names) == 1 and model.losses:
        return {}  # what Keras logs holds the penalties of the weights
    training, validation = (logs_by_head(logs or {}, names, prefix) for prefix in ("", "val_"))
    entropies = (keras.losses.SparseCategoricalCrossentropy, keras.losses.CategoricalCrossentropy)
    return {
        name: min(values["loss"] for values in (training[name], validation[name]) if "loss" in values)
        for name, loss, weight in zip(names, head_losses.losses, head_losses.weights)
        if isinstance(loss, entropies) and weight and "loss" in training[name]
    }


def _batch_norms(model: InceptionModel) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable]


def _with_row(model: InceptionModel, head: str) -> str:
    """Returns the head's name and, of an architecture, the row that it stands on: `aux1 (on inception_4a)`."""
    row = None if model.architecture is None else model.architecture.taps.get(head)
    return f"{head} (on {row})" if row else head


def _figures(metrics: Logs) -> str:
    accuracy = f", accuracy {metrics['accuracy']:.1%}" if "accuracy" in metrics else ""
    return f"loss {metrics['loss']:.3f}{accuracy}"


def _longer(lag: tuple[int, int], steps: int) -> tuple[int, int]:
    return lag[0] + 1, lag[1] + steps
