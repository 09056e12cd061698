"""The network with early exits: one graph of stages, in which a stage computes the rows that reach it and no others."""

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inception import architectures
from keras_inception.errors import InputError
from keras_inception.network.blocks import MAIN
from keras_inception.network.checks import check_finite, check_input, gives_logits
from keras_inception.network.model import InceptionModel, check_model
from keras_inception.network.views import features
from keras_inception.rules import argument, one_of
from keras_inception.serving.exits.calibration import ExitCalibration, exit_names
from keras_inception.types import Array, Tensor

TINY = np.finfo(np.float32).tiny

# `CRITERIA` of the calibration as TensorFlow computes them: of probabilities (rows, classes), (rows,).
TENSOR_CRITERIA: dict[str, Callable[[Tensor], Tensor]] = {
    "confidence": lambda p: tf.reduce_max(p, axis=-1),
    "entropy": lambda p: 1 + tf.reduce_sum(p * tf.math.log(tf.maximum(p, TINY)), axis=-1) / math.log(p.shape[-1]),
    "margin": lambda p: (lambda two: two[:, 0] - two[:, 1])(tf.math.top_k(p, 2).values),
}


def early_exit_model(
    model: InceptionModel, thresholds: ExitCalibration | float | Mapping[str, float]
) -> "EarlyExitModel":
    """Returns the model in which an image leaves at the first head that is confident of it.

    Args:
        model: A trained model with auxiliary heads.
        thresholds: What `calibrate_exits` returned, or the probability from which an image leaves: a number for all
            auxiliary heads, or a dict by their names, such as `{"aux1": 0.9, "aux2": 0.8}`. From 0 (every image
            leaves) to 1; above 1 none leaves, and neither does one at a head that is left out. Those heads are not
            computed. Without a calibration each head answers alone.

    Raises:
        InputError: The model has no auxiliary heads or weights that are not finite, or the thresholds do not fit.
    """
    if isinstance(thresholds, ExitCalibration):
        return EarlyExitModel(model, thresholds.thresholds, thresholds.mixtures, thresholds.criterion)
    return EarlyExitModel(model, thresholds)


@keras.saving.register_keras_serializable(package="keras_inception")
class EarlyExitModel(keras.Model):
    """A trained network whose images leave at the first head that is confident of them.

    The batch runs to the tap of the first auxiliary head (in GoogLeNet 4a). Rows of which the head is as sure as its
    threshold says have their answer; the others are gathered and run to the next tap (4d), and what is left to the main
    head. A stage that no row reaches is not run at all.

    Calling it and `predict` take preprocessed images, `(batch, height, width, channels)`; calling takes an empty
    batch too. They return a dict in the order of the images:

    - `"probabilities"`: `(batch, classes)`, float32, what the head answered at which the image left: its mixture;
    - `"exit"`: `(batch,)`, int32, which head that was: the index in `exit_names`.

    It does not train: train the model that it was made of, whose layers and variables it shares. A `.keras` file of it
    is read after `import keras_inception.serving`.

    Args:
        model: A trained model with auxiliary heads.
        thresholds: As `early_exit_model` takes them.
        mixtures: By head, the weights of its logits and of those of heads before it whose sum's softmax is the answer,
            see `ExitPoint`; by default 1 of its own alone.
        criterion: What tells how sure an answer is: `"confidence"`, `"entropy"` or `"margin"`.
        name: The model's name; by default that of `model` with `_early_exit`.
        **kwargs: Others of `keras.Model`.

    Raises:
        InputError: As for `early_exit_model`.

    Attributes:
        exit_names: The names of all heads, the shallowest first and `"main"` last.
        heads_in_use: The names of the heads that are computed: those that an image can leave at, and `"main"`.
        thresholds: The thresholds by head.
        mixtures: The mixtures of the heads in use.
        criterion: What tells how sure an answer is.
    """

    predict_function: Any
    supports_jit = False  # how many rows go on is known only at run time

    def __init__(
        self,
        model: InceptionModel,
        thresholds: float | Mapping[str, float],
        mixtures: Mapping[str, Mapping[str, float]] | None = None,
        criterion: str = "confidence",
        *,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        check_model(model)
        check_finite(model)
        names = exit_names(model)
        thresholds = _numbers_by_head(thresholds, names[:-1], "thresholds", 0)
        criterion = argument("criterion", criterion, one_of(tuple(TENSOR_CRITERIA)))
        # A probability is never above 1.
        used = [*(head for head, threshold in thresholds.items() if threshold <= 1), MAIN]
        mixtures = {head: {head: 1.0} for head in used} if mixtures is None else mixtures
        mixtures = _mixtures(mixtures, used)
        super().__init__(name=name or f"{model.name}_early_exit", **kwargs)
        self.model = model
        self.exit_names: list[str] = names
        self.thresholds: dict[str, float] = thresholds
        self.mixtures: dict[str, dict[str, float]] = mixtures
        self.criterion: str = criterion
        self.heads_in_use: list[str] = used
        self.class_names: list[str] | None = model.class_names
        self.preprocessing: str | None = model.preprocessing
        self._graph = tf.function(self.router(model, _call), autograph=False, reduce_retracing=True)
        self._looks_at_images = False
        self.built = True

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        # Here and not in `call`, whose errors Keras surrounds with lines of its own.
        if tf.executing_eagerly() and not isinstance(inputs, keras.KerasTensor):
            check_finite(self.model)
            check_input(self.model, inputs)
            self.model.look_at(inputs)
        return super().__call__(inputs, *args, **kwargs)

    def call(self, inputs: Tensor) -> dict[str, Tensor]:
        return self._graph(inputs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> dict[str, Array]:
        """Returns the same as calling it, as arrays; see `keras.Model.predict`."""
        if getattr(x, "shape", (1,))[:1] == (0,):  # Keras fails without a batch
            return {name: rows.numpy() for name, rows in self(x).items()}
        check_finite(self.model)
        self._looks_at_images = True
        return super().predict(x, *args, **kwargs)

    def make_predict_function(self, force: bool = False) -> Callable[..., Any]:
        if self.predict_function is None or force:
            super().make_predict_function(force)
            predict: Any = self.predict_function

            def function(batches: list[Any]) -> Any:
                images = tf.nest.flatten(batches, expand_composites=True)[0]
                check_input(self.model, images)
                if self._looks_at_images:
                    self._looks_at_images = False
                    self.model.look_at(images)
                return predict(batches)

            self.predict_function = function
        return self.predict_function

    def get_config(self) -> dict[str, Any]:
        return {
            "model": keras.saving.serialize_keras_object(self.model),
            "thresholds": self.thresholds,
            "mixtures": self.mixtures,
            "criterion": self.criterion,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "EarlyExitModel":
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects)
        temperatures = config.pop("temperatures", None)  # of an earlier version, whose heads answered alone
        if temperatures is not None:
            config["mixtures"] = {head: {head: 1 / value} for head, value in temperatures.items()}
        return cls(**{**config, "model": model})

    def router(
        self, network: InceptionModel, wrap: Callable[[keras.Model], Callable[[Tensor], dict[str, Tensor]]]
    ) -> Callable[[Tensor], dict[str, Tensor]]:
        """Returns a function that routes images through the stages of a network.

        Args:
            network: The trained network, or one with its architecture and heads under the same names, such as one
                whose batch normalization is folded into its convolutions.
            wrap: A function of a stage, a Keras model, that returns the function of tensors to call in its place.

        Returns:
            A function of preprocessed images, `(batch, height, width, channels)`, that returns the same dict as calling
            the model does.
        """
        # Held by a function and not by an attribute, so that Keras finds each layer once.
        stages = [wrap(stage) for stage in _stages(network, self.heads_in_use)]
        confidence = TENSOR_CRITERIA[self.criterion]

        def answer_from(depth: int, x: Tensor, passed: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            """Returns probabilities and exits of the rows of `x`, the input of a stage; there is at least one.

            Args:
                depth: Which stage.
                x: Its input.
                passed: The logits of the heads before it.
            """
            head = self.heads_in_use[depth]
            stage = stages[depth](x)
            logits = {**passed, head: tf.cast(stage["logits"], tf.float32)}
            weighed = [weight * logits[name] for name, weight in self.mixtures[head].items()]
            probabilities = tf.nn.softmax(sum(weighed[1:], start=weighed[0]))  # (rows, classes)
            exits = tf.fill(tf.shape(probabilities)[:1], self.exit_names.index(head))
            if head == MAIN:
                return probabilities, exits
            rest = tf.where(~(confidence(probabilities) >= self.thresholds[head]))  # (rows that go on, 1)

            def go_on() -> tuple[Tensor, Tensor]:
                needed = {name for later in self.heads_in_use[depth + 1 :] for name in self.mixtures[later]}
                kept = {name: tf.gather(rows, rest[:, 0]) for name, rows in logits.items() if name in needed}
                deeper = answer_from(depth + 1, tf.gather(stage.get("tap", x), rest[:, 0]), kept)
                return tuple(map(tf.tensor_scatter_nd_update, (probabilities, exits), (rest, rest), deeper))

            return tf.cond(tf.size(rest) > 0, go_on, lambda: (probabilities, exits))

        def answer(images: Tensor) -> dict[str, Tensor]:
            probabilities, exits = tf.cond(
                tf.shape(images)[0] > 0,  # An empty batch crashes oneDNN's fused convolutions.
                lambda: answer_from(0, images, {}),
                lambda: (tf.zeros([0, self.model.classes]), tf.zeros([0], tf.int32)),
            )
            return {"probabilities": probabilities, "exit": exits}

        return answer


def _call(stage: keras.Model) -> Callable[[Tensor], dict[str, Tensor]]:
    return lambda x: stage(x, training=False)


def _logits(network: InceptionModel, head: str) -> Tensor:
    """Returns what goes into the softmax of a head."""
    layer = network.get_layer(head)
    if gives_logits(network, head):
        return layer.output
    if isinstance(layer, keras.layers.Activation):
        return layer.input
    return keras.ops.log(keras.ops.maximum(layer.output, TINY))


def _stages(network: InceptionModel, heads: list[str]) -> list[keras.Model]:
    """Returns one model a stage, from tap to tap: `{"logits", "tap"}`, no tap where it is the input."""
    taps = architectures.of(network).taps
    x, stages = network.input, []
    for head in heads:
        outputs = {"logits": _logits(network, head)}
        if head != MAIN:
            [tap] = features(network, [taps[head]]).output.values()
            outputs |= {} if tap is x else {"tap": tap}  # two heads may share a tap
        stages.append(keras.Model(x, outputs))
        x = outputs.get("tap", x)
    return stages


def _mixtures(values: Any, heads: list[str]) -> dict[str, dict[str, float]]:
    """Returns the mixtures of some heads, each of itself and of heads before it, as plain numbers."""
    given = values if isinstance(values, Mapping) else {}
    if not all(isinstance(given.get(head), Mapping) and head in given[head] for head in heads):
        raise InputError(
            f"`mixtures` must hold for each head in use, {heads}, weights by head, its own among them. "
            f"Received: mixtures={values!r}"
        )
    return {head: _numbers_by_head(given[head], heads[: i + 1], "mixtures", 0) for i, head in enumerate(heads)}


def _numbers_by_head(values: Any, heads: list[str], argument: str, least: float) -> dict[str, float]:
    """Returns a number for all heads, or a dict of numbers by some of them, as a dict in the order of `heads`."""
    given = dict.fromkeys(heads, values) if isinstance(values, numbers.Real) else values
    if (
        not isinstance(given, Mapping)
        or not set(given) <= set(heads)
        or not all(
            isinstance(value, numbers.Real) and not isinstance(value, bool) and least <= float(value) < math.inf
            for value in given.values()
        )
    ):
        raise InputError(
            f"`{argument}` must be a number of at least {least}, or a dict of such numbers by the names of heads, "
            f"which are {heads}. Received: {argument}={values!r}"
        )
    return {head: float(given[head]) for head in heads if head in given}
