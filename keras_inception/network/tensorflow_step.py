"""How a model with several heads trains and is evaluated step by step on TensorFlow, on one replica or many.

It overrides what Keras documents for that: `train_step`, `test_step`, `predict_step`, `make_train_function` and
`make_test_function`. Imported only where TensorFlow is the backend of Keras.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from keras_inception import undocumented
from keras_inception.errors import InputError
from keras_inception.network.checks import check_some
from keras_inception.network.read_once import read_once
from keras_inception.network.replicas import mean_over_replicas, replica_count, sum_over_replicas
from keras_inception.types import Tensor

# Sees what the data gave for a step (images, labels, perhaps sample weights; under several replicas in parts), and for
# how many seconds of wall-clock time the training waited for it.
Observer: TypeAlias = Callable[[Any, float], None]


class TensorFlowStep(undocumented.BuildsWithoutReading, keras.Model):
    """A Keras model that draws each batch once, looks at it once, and computes its step on every replica.

    Under a strategy of several replicas a step does what one device would do with the whole batch: every example has
    the same weight, however the batch is divided, and a batch of fewer examples than replicas, which only the end of
    the data can bring, is left out of the training and counted in an evaluation.

    With `steps_per_execution` above 1 callbacks are called once in so many steps; each step is looked at all the same.
    """

    train_function: Callable[..., Any] | None
    test_function: Callable[..., Any] | None
    predict_function: Any
    observers: tuple[Observer, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.whole_size: Tensor | None = None  # of the batch of all replicas, where it is known while a step is traced
        self._begins = False  # whether no batch of this call of `fit` was seen yet

    def observe(self, observer: Observer) -> None:
        """Calls `observer` with each batch until `fit` ends, however it ends; for a callback's `on_train_begin`."""
        self.observers = (*self.observers, observer)

    def fit(self, x: Any = None, *args: Any, validation_data: Any = None, **kwargs: Any) -> keras.callbacks.History:
        self._begins = True
        data = read_once(x)
        if isinstance(data, tf.data.Dataset) and data is not x:
            kwargs["shuffle"] = False  # as Keras leaves the order to a `DataLoader`
        try:
            return super().fit(data, *args, validation_data=read_once(validation_data), **kwargs)
        finally:
            self.observers = ()

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        return super().evaluate(read_once(x), *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return super().predict(read_once(x), *args, **kwargs)

    def check_batch(self, x: Any, y: Any = None, sample_weight: Any = None, *, training: bool = False) -> None:
        """Looks at a batch before its step; a subclass refuses what it cannot learn from."""

    def of_size(self, images: Any) -> keras.Model:
        """Returns what computes a step's images; a subclass may compute those of another size otherwise."""
        return self

    def steps_taken(self) -> Tensor:
        """Returns the number of steps that were taken, also within a step."""
        return self.optimizer.iterations

    def train_step(self, data: Any) -> dict[str, Tensor]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            y_pred = self.of_size(_first(x))(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
            self._update_loss_metric(loss, x)
            if replica_count() > 1 and _first(x).shape[0] is None:  # of a known size, all replicas have as many
                size = _size(x)
                whole = sum_over_replicas(size) if self.whole_size is None else self.whole_size
                loss = loss * tf.cast(size, loss.dtype) * replica_count() / tf.cast(whole, loss.dtype)
            if self.optimizer is not None:
                loss = self.optimizer.scale_loss(loss)
        if self.trainable_variables:
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def test_step(self, data: Any) -> dict[str, Tensor]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)

        def step() -> dict[str, Tensor]:
            y_pred = self(x, training=False)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=False)
            self._update_loss_metric(loss, x)
            return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

        if replica_count() == 1 or _first(x).shape[0] is not None:
            return step()
        return tf.cond(_size(x) > 0, step, self.get_metrics_result)

    def predict_step(self, data: Any) -> Any:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        if replica_count() == 1 or _first(x).shape[0] is not None:
            return self(x, training=False)
        size = _size(x)  # an empty part crashes some of TensorFlow's kernels
        y_pred = self(tf.nest.map_structure(partial(_at_least_one, size), x), training=False)
        return tf.nest.map_structure(lambda rows: rows[:size], y_pred)

    def make_train_function(self, force: bool = False) -> Callable[..., Any] | None:
        check_trainable(self)
        if self.train_function is None or force:
            self.train_function = self._step_function(self.train_step, training=True)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Callable[..., Any] | None:
        check_trainable(self)
        if self.test_function is None or force:
            self.test_function = self._step_function(self.test_step, training=False)
        return self.test_function

    def make_predict_function(self, force: bool = False) -> Callable[..., Any]:
        if self.predict_function is None or force:
            super().make_predict_function(force)
            predict: Any = self.predict_function
            strategy = self.distribute_strategy

            def function(batches: list[Any]) -> Any:
                for batch in batches:
                    for part in _parts(batch, strategy):
                        images = keras.utils.unpack_x_y_sample_weight(part)[0]  # labels are not used
                        if strategy is None or strategy.num_replicas_in_sync == 1:
                            check_some(images)
                        self.check_batch(images)
                return predict(batches)

            self.predict_function = function
        return self.predict_function

    def _step_function(self, step: Callable[[Any], Any], *, training: bool) -> Callable[[Iterator[Any]], Any]:
        strategy = tf.distribute.get_strategy() if self.distribute_strategy is None else self.distribute_strategy
        compute = _on_replicas(self, step, strategy, training)
        # By the shape of the images that a network takes: what the data say of themselves, and the step of such data.
        traced: dict[Any, tuple[Any, Callable[..., Any]]] = {}

        def one_step(iterator: Iterator[Any]) -> Any:
            begin = time.perf_counter()
            batch = next(iterator)
            waiting = time.perf_counter() - begin
            parts = [keras.utils.unpack_x_y_sample_weight(part) for part in _parts(batch, strategy)]
            if strategy.num_replicas_in_sync == 1:  # of several, a last one may have nothing to do
                check_some(parts[0][0])
            for part in parts:
                self.check_batch(*part, training=training)
            if training and self._begins:
                self._begins = False
                _check_size(batch, strategy)
            if not traced:
                self.build_metrics(_as_large_as(self, parts[0]))
            if training:
                for observer in self.observers:
                    observer(batch, waiting)
            if self.run_eagerly:
                return compute(batch)
            # Of the data's own specification, so that a smaller last batch is not traced anew.
            specification = getattr(iterator, "element_spec", None)
            shape = tuple((self.of_size(_first(parts[0][0])) if training else self).inputs[0].shape)
            if shape not in traced or traced[shape][0] != specification:
                signature = _signature(specification, shape)
                traced[shape] = (
                    specification,
                    tf.function(
                        compute, signature, autograph=False, reduce_retracing=True, jit_compile=self.jit_compile
                    ),
                )
            return traced[shape][1](batch)

        def function(iterator: Iterator[Any]) -> Any:
            logs = one_step(iterator)
            with contextlib.suppress(StopIteration):  # the last execution may have fewer steps
                for _ in range(1, self.steps_per_execution):
                    logs = one_step(iterator)
            return logs

        return function

    def _update_loss_metric(self, loss: Tensor, x: Any) -> None:
        """Adds a replica's loss, the mean over its examples divided by the number of replicas, to what Keras logs."""
        metric = next(metric for metric in self.metrics if metric.name == "loss")
        metric.update_state(loss if replica_count() == 1 else loss * replica_count(), sample_weight=_size(x))


def _on_replicas(model: TensorFlowStep, step: Callable[[Any], Any], strategy: Any, training: bool) -> Callable:
    """Returns the function of a batch that runs a step on all replicas, and returns the mean of their logs."""

    def run(function: Callable, batch: Any) -> Any:
        # All logs are exchanged at once.
        logs = strategy.run(lambda part: mean_over_replicas(function(part)), args=(batch,))
        return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], logs)

    def compute(batch: Any) -> Any:
        # What the data left out, such as sample weights.
        batch = tf.nest.map_structure(lambda x: None if isinstance(x, tf.experimental.Optional) else x, batch)
        replicas = strategy.num_replicas_in_sync
        if replicas == 1 or not training or _has_known_size(batch, strategy):
            return run(step, batch)
        model.whole_size = strategy.reduce("SUM", strategy.run(_size, args=(batch,)), axis=None)
        try:
            return tf.cond(
                model.whole_size >= replicas,  # a replica without an example can take no step
                lambda: run(step, batch),
                lambda: run(lambda _: model.get_metrics_result(), batch),
            )
        finally:
            model.whole_size = None

    return compute


def _check_size(batch: Any, strategy: Any) -> None:
    """Refuses a first batch of fewer examples than replicas: all would be as small, and no step would be taken."""
    replicas = strategy.num_replicas_in_sync
    if replicas > 1:
        examples = int(tf.function(lambda: strategy.reduce("SUM", strategy.run(_size, args=(batch,)), axis=None))())
        if examples < replicas:
            raise InputError(
                "A batch must hold at least one example for each replica, or nothing would be trained. Use a larger "
                f"`batch_size`, that of all replicas, or fewer. Received: {examples} examples, {replicas} replicas"
            )


def check_trainable(model: keras.Model, strategy: Any = None) -> None:
    """Refuses what fails, or silently gives other weights, when a model trains or is evaluated on several replicas.

    An `InceptionModel` calls it before the first step; call it yourself to know earlier.

    Args:
        model: A compiled Keras model.
        strategy: The strategy; by default the one that the model was built under.

    Raises:
        InputError: The model was built outside the strategy's scope, or was compiled with `steps_per_execution` above
            1, `jit_compile=True`, `gradient_accumulation_steps`, `clipnorm`, `clipvalue`, `global_clipnorm` or
            `ema_overwrite_frequency`.
    """
    strategy = model.distribute_strategy if strategy is None else strategy
    if strategy.num_replicas_in_sync == 1:
        return
    if model.distribute_strategy is not strategy or any(
        not strategy.extended.variable_created_in_scope(variable.value) for variable in model.trainable_variables[:1]
    ):
        raise InputError(
            "A model must be built and compiled inside `strategy.scope()`, so that every replica has its variables. "
            f"Received: model {model.name!r}, built outside the scope of {type(strategy).__name__}"
        )
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    clipping = "it would clip each replica's gradient before they are summed"
    settings: tuple[tuple[str, Any, Any, str], ...] = (
        ("steps_per_execution", model, 1, "Keras's loop cannot hold the replicas' steps"),
        ("jit_compile", model, False, "XLA cannot compile the communication between replicas"),
        ("gradient_accumulation_steps", optimizer, None, "Keras cannot sum gradients of replicas later"),
        ("clipnorm", optimizer, None, clipping),
        ("clipvalue", optimizer, None, clipping),
        ("global_clipnorm", optimizer, None, clipping),
        ("ema_overwrite_frequency", optimizer, None, "Keras cannot overwrite replicas' weights within a step"),
    )
    for name, owner, harmless, reason in settings:
        value = getattr(owner, name, None)
        if value and value != harmless:
            raise InputError(
                f"`{name}` does not work on several replicas: {reason}. Compile with {name}={harmless}, or train on "
                f'one device (`get_strategy("one")`). '
                f"Received: {name}={value}, {strategy.num_replicas_in_sync} replicas"
            )


def _parts(batch: Any, strategy: Any) -> list[Any]:
    """Returns the parts of a batch that this process sees: one for each of its replicas."""
    if strategy.num_replicas_in_sync == 1:
        return [batch]

    def part(index: int, leaf: Any) -> Any:
        parts = strategy.experimental_local_results(leaf)
        found = parts[min(index, len(parts) - 1)]  # what the data left out is there once
        return None if isinstance(found, tf.experimental.Optional) else found

    replicas = range(len(strategy.extended.worker_devices))
    return [tf.nest.map_structure(partial(part, index), batch) for index in replicas]


def _as_large_as(model: TensorFlowStep, batch: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """Returns a batch whose images have the size of the model's input."""
    x, *others = batch
    if model.of_size(_first(x)) is model:
        return batch
    return tf.zeros((len(_first(x)), *model.inputs[0].shape[1:])), *others


def _signature(specification: Any, shape: tuple[int | None, ...]) -> list[Any] | None:
    """Returns what a step is traced for: of data of several sizes, images of one of them, `(batch, ...)`."""
    if specification is None:
        return None
    leaves = tf.nest.flatten(specification)
    images = leaves[0]
    if not isinstance(images, tf.TensorSpec) or images.shape.rank != len(shape):
        return [specification]
    known = [own if own is not None else length for own, length in zip(images.shape[1:], shape[1:])]
    leaves[0] = tf.TensorSpec([images.shape[0], *known], images.dtype)
    return [tf.nest.pack_sequence_as(specification, leaves)]


def _first(x: Any) -> Tensor:
    return next(leaf for leaf in tf.nest.flatten(x) if leaf is not None)


def _size(x: Any) -> Tensor:
    """Returns the number of examples in a batch or a replica's part of it."""
    return tf.shape(_first(x))[0]


def _has_known_size(batch: Any, strategy: Any) -> bool:
    """Returns whether all replicas are known, while the step is traced, to have as many examples."""
    sizes = {part.shape[0] for part in strategy.experimental_local_results(_first(batch))}
    return not tf.executing_eagerly() and len(sizes) == 1 and not sizes & {None, 0}


def _at_least_one(size: Tensor, x: Any) -> Any:
    if not isinstance(x, tf.Tensor):
        return x
    return tf.cond(size > 0, lambda: x, lambda: tf.zeros(tf.concat([[1], tf.shape(x)[1:]], 0), x.dtype))
