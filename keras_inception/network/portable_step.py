"""How a model looks at each batch on the backends other than TensorFlow, whose step is Keras's own."""

import itertools
from collections.abc import Callable
from typing import Any

import keras

from keras_inception import undocumented
from keras_inception.errors import InputError
from keras_inception.network.checks import check_some
from keras_inception.types import Tensor


class PortableStep(undocumented.BuildsWithoutReading, keras.Model):
    """A Keras model that looks at each batch, once, before Keras computes its step.

    It overrides what Keras documents for that: `make_train_function`, `make_test_function`, `make_predict_function` and
    `train_step`, where JAX keeps the number of steps.

    Where the model knows no `symbolic_batch`, Keras draws one batch more before the first `fit` or `evaluate` after
    `compile`, and forgets it: a source that can be read once loses it.
    """

    train_function: Any
    test_function: Any
    predict_function: Any

    _steps_taken: Tensor | None = None

    def check_batch(self, x: Any, y: Any = None, sample_weight: Any = None) -> None:
        """Looks at a batch before its step; a subclass refuses what it cannot learn from."""

    def steps_taken(self) -> Tensor:
        """Returns the number of steps that were taken, also within a step."""
        return self.optimizer.iterations if self._steps_taken is None else self._steps_taken

    def train_step(self, *arguments: Any) -> Any:
        if len(arguments) == 1:  # PyTorch's data alone
            return super().train_step(*arguments)
        state, _ = arguments  # of JAX, in which variables hold the values from before the whole loop
        with keras.StatelessScope(state_mapping=list(zip(self.optimizer.variables, state[2]))):
            self._steps_taken = keras.ops.convert_to_tensor(self.optimizer.iterations)
        try:
            return super().train_step(*arguments)
        finally:
            self._steps_taken = None

    def make_train_function(self, force: bool = False) -> None:
        if self.train_function is None or force:
            super().make_train_function(force)
            self.train_function = self._looking(self.train_function)

    def make_test_function(self, force: bool = False) -> None:
        if self.test_function is None or force:
            super().make_test_function(force)
            self.test_function = self._looking(self.test_function)

    def make_predict_function(self, force: bool = False) -> None:
        if self.predict_function is None or force:
            super().make_predict_function(force)
            self.predict_function = self._looking(self.predict_function, labels=False)

    def _looking(self, function: Any, labels: bool = True) -> Callable[..., Any]:
        def look(batch: Any) -> Any:
            x, *others = keras.utils.unpack_x_y_sample_weight(batch)
            check_some(x)
            self.check_batch(x, *(others if labels else ()))
            return batch

        def looking(*arguments: Any) -> Any:
            *states, batches = arguments  # JAX has a state and an iterator, PyTorch a list
            try:
                looked_at = [look(batch) for batch in itertools.islice(batches, self.steps_per_execution)]
            except InputError:
                for state in states:
                    self._take_back(state)
                raise
            return function(*states, looked_at if isinstance(batches, list) else iter(looked_at))

        return looking

    def _take_back(self, state: Any) -> None:
        """Puts into the variables what JAX took out of them for a loop that ends here."""
        optimizer = [] if len(state) < 4 else [self.optimizer.variables]
        groups = (self.trainable_variables, self.non_trainable_variables, *optimizer, self.metrics_variables)
        for variables, values in zip(groups, state):
            for variable, value in zip(variables, values):
                variable.assign(value)
