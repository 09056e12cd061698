"""The steps of Keras's trainer, run so that several replicas do what one device would do with the same batch.

The cures act while a step is traced and are taken back afterwards: model, optimizer and what is saved of them stay as
they are.
"""

import contextlib
import threading
from functools import partial

import keras
import tensorflow as tf

from keras_inception.errors import InputError


def kind_of(fn):
    """Returns which step of Keras's trainer a function is, `"train"`, `"test"` or `"predict"`; None for any other."""
    name = getattr(fn, "__name__", "")
    if isinstance(getattr(fn, "__self__", None), keras.Model) and name in ("train_step", "test_step"):
        return name.removesuffix("_step")
    return "predict" if "make_predict_function" in getattr(fn, "__qualname__", "") else None


def check_trainable(model, strategy=None):
    """Refuses what fails, or silently gives other weights, when a model trains or is evaluated on several replicas.

    Our strategies call it before the first step; call it yourself to know earlier.

    Args:
        model: A compiled Keras model.
        strategy: The strategy; by default the one that the model was built under.

    Raises:
        ValueError: The model was built outside the strategy's scope, or was compiled with `steps_per_execution` above
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
    settings = (
        ("steps_per_execution", model.steps_per_execution, "Keras's loop cannot hold the replicas' steps", 1),
        ("jit_compile", model.jit_compile, "XLA cannot compile the communication between replicas", False),
        ("gradient_accumulation_steps", None, "Keras cannot sum gradients of replicas later; use a larger batch", None),
        ("clipnorm", None, clipping, None),
        ("clipvalue", None, clipping, None),
        ("global_clipnorm", None, clipping, None),
        ("ema_overwrite_frequency", None, "Keras cannot overwrite replicas' weights within a step", None),
    )
    for name, value, reason, harmless in settings:
        value = getattr(optimizer, name, None) if value is None else value
        if value and value != harmless:
            raise InputError(
                f"`{name}` does not work on several replicas: {reason}. Compile with {name}={harmless}, or train on "
                f'one device (`get_strategy("one")`). '
                f"Received: {name}={value}, {strategy.num_replicas_in_sync} replicas"
            )


def _run_train(strategy, run, fn, data):
    model = fn.__self__
    check_trainable(model, strategy)
    if _has_static_size(strategy, data):  # then all replicas have as many examples
        with _cures(model):
            return run(fn, (data,))
    replicas = strategy.num_replicas_in_sync
    examples = tf.distribute.Strategy.reduce(strategy, "SUM", run(_size, (data,)), axis=None)

    def step(data):
        # Keras takes a replica's mean loss and divides it by the number of replicas.
        _of_this_replica.weight = _size(data) * replicas / examples
        try:
            return fn(data)
        finally:
            _of_this_replica.weight = None

    def all_replicas():
        with _cures(model):
            return run(step, (data,))

    # A replica without an example could take no step, and some of TensorFlow's kernels end the process.
    return tf.cond(examples >= replicas, all_replicas, lambda: run(lambda _: model.get_metrics_result(), (data,)))


def _run_test(strategy, run, fn, data):
    model = fn.__self__
    check_trainable(model, strategy)

    def step(data):
        return tf.cond(_size(data) > 0, lambda: fn(data), model.get_metrics_result)

    return run(fn if _has_static_size(strategy, data) else step, (data,))


def _run_predict(strategy, run, fn, data):
    def step(data):
        size = _size(data)
        outputs = fn(tf.nest.map_structure(partial(_at_least_one, size), data))
        return tf.nest.map_structure(lambda output: output[:size], outputs)

    return run(fn if _has_static_size(strategy, data) else step, (data,))


RUN = {"train": _run_train, "test": _run_test, "predict": _run_predict}


def _at_least_one(size, x):
    if not isinstance(x, tf.Tensor):
        return x
    return tf.cond(size > 0, lambda: x, lambda: tf.zeros(tf.concat([[1], tf.shape(x)[1:]], 0), x.dtype))


def _first(data):
    """Returns the first tensor of a batch, or what holds the replicas' parts of it: the images."""
    return next((leaf for leaf in tf.nest.flatten(data) if leaf is not None), None)


def _size(data):
    """Returns the number of examples in a replica's part of a batch."""
    return tf.shape(_first(data), tf.int64)[0]


def _has_static_size(strategy, data):
    sizes = {part.shape[0] for part in strategy.experimental_local_results(_first(data))}
    return not tf.executing_eagerly() and len(sizes) == 1 and None not in sizes and 0 not in sizes


class _OfThisReplica(threading.local):
    """What holds for the replica whose step is being traced: TensorFlow gives each a thread of its own."""

    weight = None


_of_this_replica = _OfThisReplica()


@contextlib.contextmanager
def _cures(model):
    """Sets a model up for the tracing of a training step on several replicas, and back again."""
    layers = model._flatten_layers()
    norms = [x for x in layers if isinstance(x, keras.layers.BatchNormalization) and not x.synchronized]
    seeds = {id(seed): seed for layer in layers for seed in layer._seed_generators}.values()
    with contextlib.ExitStack() as undo:
        for norm in norms:
            norm.synchronized = True
            undo.callback(setattr, norm, "synchronized", False)
        for seed in seeds:
            seed.next = partial(_seed_of_this_replica, seed)
            undo.callback(delattr, seed, "next")
        if model.optimizer is not None:
            model.optimizer.scale_loss = partial(_weighted_loss, model.optimizer)
            undo.callback(delattr, model.optimizer, "scale_loss")
        yield


def _seed_of_this_replica(generator, ordered=True):
    """Returns the next seed, another one on every replica; the first replica's is that of one device."""
    seed = type(generator).next(generator, ordered)
    replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, seed.dtype)
    return seed + tf.stack([replica * 1_000_003, tf.zeros_like(replica)])


def _weighted_loss(optimizer, loss):
    """Returns the loss, scaled by how many of the batch's examples this replica has."""
    weight = _of_this_replica.weight
    return type(optimizer).scale_loss(optimizer, loss if weight is None else loss * tf.cast(weight, loss.dtype))
