"""The batch of each step of `fit`, for the callbacks that look at it."""

import time
import warnings

import keras
import tensorflow as tf

from keras_inception.training.diagnosis.chance import Chance


def warn(message):
    """Reports a message as Python's warning."""
    warnings.warn(message, stacklevel=2)


class Steps:
    """A model's train function that draws the batch itself, so that callbacks can time it, and look at it afterwards.

    Keras 3.15 on TensorFlow gives its train function the iterator, draws the batch within it and forgets it. Here the
    batch is drawn first and given to Keras's function as an iterator of one batch, within a `tf.function` of the
    data's own specification (without it a smaller last batch would be traced anew). Under several replicas, with
    `steps_per_execution` above 1, and on other backends Keras's function runs as it is, and `batch` stays None.

    Attributes:
        batch: What the pipeline gave for the last step, or None.
        waiting: Seconds for which the last step waited for its batch, or None.
        computing_since: When the last step had its batch, in seconds of `time.perf_counter`.
        chance: The `Chance` of the labels of the first 1,000 batches.
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
        self.chance = Chance(model)
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


class Watcher(keras.callbacks.Callback):
    """A callback that sees the batch of each step; `report` is called with each message."""

    def __init__(self, report=warn):
        super().__init__()
        self.report = report

    def on_train_begin(self, logs=None):
        self._steps = Steps.of(self.model)

    def on_train_end(self, logs=None):
        Steps.leave(self.model)
