"""The network with early exits: one graph of stages, in which a stage computes the rows that reach it and no others."""

import keras
import numpy as np
import tensorflow as tf

from keras_inception.network.blocks import MAIN
from keras_inception.network.model import gives_logits
from keras_inception.network.views import features
from keras_inception.serving.exits import order
from keras_inception.serving.exits.calibration import ExitCalibration


def early_exit_model(model, thresholds):
    """Returns the model in which an image leaves at the first head that is sure of it.

    The batch runs to the tap of the first auxiliary head (4a). Rows whose highest probability reaches the head's
    threshold have their answer; the others are gathered and run to the next tap (4d), and what is left to the main
    head. A stage that no row reaches is not run at all.

    Args:
        model: A trained `InceptionModel` with auxiliary heads.
        thresholds: What `calibrate_exits` returned, or the probability from which an image leaves: a number for all
            auxiliary heads, a list with one for each, the shallowest first, or a dict by their names, such as
            `{"aux1": 0.9, "aux2": 0.8}`. From 0 (every image leaves) to 1; above 1 none leaves, and neither does one
            at a head that is left out. Those heads are not computed.

    Returns:
        An `EarlyExitModel`, which shares the layers and variables of `model`.

    Raises:
        ValueError: The model has no auxiliary heads, or the thresholds do not fit them.
    """
    if isinstance(thresholds, ExitCalibration):
        return EarlyExitModel(model, thresholds.thresholds, thresholds.temperatures)
    return EarlyExitModel(model, thresholds)


@keras.saving.register_keras_serializable(package="keras_inception")
class EarlyExitModel(keras.Model):
    """A trained network whose images leave at the first head that is sure of them; see `early_exit_model`.

    Calling it and `predict` take preprocessed images, `(batch, height, width, channels)` with any batch size, 0
    included. They return a dict in the order of the images:

    - `"probabilities"`: `(batch, classes)`, float32, the softmax of the head that answered, at its temperature;
    - `"exit"`: `(batch,)`, int32, which head that was: the index in `exit_names`.

    It does not train: train the model that it was made of, whose variables it shares. A `.keras` file of it is read
    after `import keras_inception.exits`.

    Args:
        model: A trained `InceptionModel` with auxiliary heads.
        thresholds: The probability from which an image leaves: for all auxiliary heads, or by name.
        temperatures: What each head's logits are divided by before the softmax, by name; by default 1.

    Attributes:
        exit_names: The names of all heads, the shallowest first and `"main"` last.
        heads_in_use: The names of the heads that are computed: those that an image can leave at, and `"main"`.
        thresholds: The thresholds by head.
        temperatures: The temperatures by head.
    """

    supports_jit = False  # how many rows go on is known only at run time

    def __init__(self, model, thresholds, temperatures=None, *, name=None, **kwargs):
        thresholds = order.check_thresholds(thresholds, model)
        super().__init__(name=name or f"{model.name}_early_exit", **kwargs)
        self.model = model
        self.thresholds = thresholds
        self.temperatures = order.check_temperatures(temperatures, model)
        self.exit_names = order.exit_names(model)
        self.class_names = model.class_names
        self.preprocessing = model.preprocessing
        self.heads_in_use = [*order.in_use(thresholds), MAIN]
        self._graph = tf.function(self._over(model, _call), autograph=False, reduce_retracing=True)
        self.built = True

    def call(self, inputs):
        return self.answer(inputs, self._thresholds_in_use())

    def answer(self, images, thresholds):
        """Answers as calling the model does, with other thresholds of the heads in use; one graph serves all of them.

        Args:
            images: `(batch, height, width, channels)`, preprocessed.
            thresholds: `(heads,)`, one number for each auxiliary head in use, the shallowest first.
        """
        run = self._graph if tf.executing_eagerly() else self._graph.python_function
        return run(images, tf.constant(thresholds, tf.float32, [len(self.heads_in_use) - 1]))

    def over(self, network, wrap):
        """Returns a function that answers as this model does, and computes the stages of another network.

        Args:
            network: A Keras model with the attribute `architecture` and the layers of the trained one under the same
                names, such as one whose batch normalization is folded into its convolutions.
            wrap: A function of a stage, which is a Keras model, that returns the function of tensors to call in its
                place.

        Returns:
            A function of preprocessed images, `(batch, height, width, channels)`, that returns the same dict as calling
            the model does.
        """
        answer = self._over(network, wrap)
        return lambda images: answer(images, tf.constant(self._thresholds_in_use(), tf.float32))

    def predict(self, x, *args, **kwargs):
        if hasattr(x, "shape") and x.shape[0] == 0:  # Keras refuses an array without rows.
            return {name: value.numpy() for name, value in self(x).items()}
        return super().predict(x, *args, **kwargs)

    def get_config(self):
        return {
            "model": keras.saving.serialize_keras_object(self.model),
            "thresholds": self.thresholds,
            "temperatures": self.temperatures,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects)
        return cls(**{**config, "model": model})

    def _thresholds_in_use(self):
        return [self.thresholds[head] for head in self.heads_in_use[:-1]]

    def _over(self, network, wrap):
        """Returns a function of images and thresholds that routes images through the stages of a network."""
        taps = {head.name: head.tap for head in order.auxiliary_heads(self.model)}
        # Held by a function and not by an attribute, so that Keras finds each layer once.
        stages = [wrap(stage) for stage in _stages(network, self.heads_in_use, taps)]
        gives_softmax = {head: not gives_logits(network, head) for head in self.heads_in_use}

        def answer_from(depth, x, thresholds):
            """Returns probabilities and exits of the rows of `x`, the input of a stage; there is at least one."""
            head = self.heads_in_use[depth]
            stage = stages[depth](x)
            probabilities = _softmax(stage["output"], gives_softmax[head], self.temperatures[head])  # (rows, classes)
            exits = tf.fill(tf.shape(probabilities)[:1], self.exit_names.index(head))
            if head == MAIN:
                return probabilities, exits
            rest = tf.where(~(tf.reduce_max(probabilities, axis=-1) >= thresholds[depth]))  # (rows that go on, 1)

            def go_on():
                deeper = answer_from(depth + 1, tf.gather(stage.get("tap", x), rest[:, 0]), thresholds)
                return tuple(map(tf.tensor_scatter_nd_update, (probabilities, exits), (rest, rest), deeper))

            return tf.cond(tf.size(rest) > 0, go_on, lambda: (probabilities, exits))

        def answer(images, thresholds):
            probabilities, exits = tf.cond(
                tf.shape(images)[0] > 0,  # An empty batch crashes oneDNN's fused convolutions.
                lambda: answer_from(0, images, thresholds),
                lambda: (tf.zeros([0, self.model.classes]), tf.zeros([0], tf.int32)),
            )
            return {"probabilities": probabilities, "exit": exits}

        return answer


def _call(stage):
    return lambda x: stage(x, training=False)


def _softmax(output, is_softmax, temperature):
    logits = tf.math.log(tf.maximum(output, np.finfo(np.float32).tiny)) if is_softmax else output
    return tf.nn.softmax(logits / temperature)


def _stages(network, heads, taps):
    """Returns one model a stage, from tap to tap: `{"output", "tap"}`, no tap where it is the input."""
    x, stages = network.input, []
    for head in heads:
        outputs = {"output": network.get_layer(head).output}
        if head != MAIN:
            [tap] = features(network, [taps[head]]).outputs
            outputs |= {} if tap is x else {"tap": tap}  # two heads may share a tap
        stages.append(keras.Model(x, outputs))
        x = outputs.get("tap", x)
    return stages
