"""The program that the tests run in processes of their own, once on two devices and once as each of two workers.

    python program.py CASES OUT [--devices N]

Every case trains or evaluates something small and returns arrays; they land in the folder OUT. Devices must be
configured, and workers joined, before TensorFlow does anything else: that is why these are processes.
"""

import argparse
import os
import signal
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_inception as ki
from keras_inception import files
from keras_inception.errors import StoppedError
from keras_inception.network.layers import BatchNormalization, Dropout
from keras_inception.training import distribute, optimizers

BATCH = 8
CLASSES = 5


def arrays(count, size=8):
    generator = np.random.default_rng(7)
    images = generator.normal(size=(count, size, size, 3)).astype("float32")
    return images, generator.integers(0, CLASSES, count)


def dataset(count, batch_size=BATCH):
    return tf.data.Dataset.from_tensor_slices(arrays(count)).batch(batch_size)


def three_heads(optimizer, *, batch_norm=False, dropout=0.0, loss_weights=None, distillation=0.0):
    """Three heads on one convolution, as GoogLeNet has them."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(6, 3, use_bias=not batch_norm)(image)
    if batch_norm:
        x = BatchNormalization(momentum=0.9)(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.MaxPooling2D()(x)
    x = Dropout(dropout)(keras.layers.Flatten()(x))
    outputs = []
    for name in ("main", "aux1", "aux2"):
        y = keras.layers.Dense(CLASSES, name=f"{name}_dense")(x)
        outputs.append(keras.layers.Activation("softmax", name=name)(y))
    return ki.compile_model(ki.InceptionModel(image, outputs), optimizer, loss_weights, distillation=distillation)


def sgd():
    return keras.optimizers.SGD(0.05, momentum=0.9)


def weights_of(model):
    return {f"weight{index}": weight for index, weight in enumerate(model.get_weights())}


def trained(strategy, optimizer, data=dataset, count=21, **options):
    """Two epochs on batches of 8, 8 and 5."""
    with strategy.scope():
        model = three_heads(optimizer(), **options)
    logs = model.fit(data(count), epochs=2, shuffle=False, verbose=0).history
    return {**weights_of(model), "loss": logs["loss"], "main_loss": logs["main_loss"]}


def case_sgd(strategy):
    return trained(strategy, sgd)


def case_adamw_batch_norm(strategy):
    """The weight decay must spare the biases of each replica; it is large, so that it shows."""
    return trained(strategy, lambda: optimizers.AdamW(1e-3, 1.0), batch_norm=True)


def case_falling(strategy):
    """Weights of the auxiliary losses that fall to 0 over the six steps."""
    falling = keras.optimizers.schedules.CosineDecay(3.0, 6)
    return trained(strategy, sgd, loss_weights=[1.0, falling, falling])


def case_taught(strategy):
    return trained(strategy, sgd, distillation=0.8)


def case_own_batches(strategy):
    """Each worker decodes only its own examples: batches of 7 over two workers are 4 and 3; at the end 1 and 0."""

    def data(count):
        indices = tf.data.Dataset.range(count).shuffle(count, seed=3, reshuffle_each_iteration=False)
        images, labels = map(tf.constant, arrays(count))

        def decode(index):
            return tf.gather(images, index), tf.gather(labels, index)

        return distribute.batch(indices, 7, decode, strategy=strategy)

    result = trained(strategy, sgd, data, count=20)
    with strategy.scope():
        model = three_heads("sgd")
    return {**result, "evaluated": list(model.evaluate(data(22), verbose=0, return_dict=True).values())}


def case_arrays(strategy):
    """Plain arrays, with validation data and class weights."""
    with strategy.scope():
        model = three_heads(sgd())
    x, y = arrays(21)
    class_weight = {index: 1.0 + index for index in range(CLASSES)}
    logs = model.fit(x, y, BATCH, 2, 0, validation_data=arrays(9), shuffle=False, class_weight=class_weight).history
    return {**weights_of(model), "val_loss": logs["val_loss"], "val_accuracy": logs["val_main_accuracy"]}


def case_untrained(strategy):
    """The last batch of 17 holds one example, fewer than there are replicas; that of 13 is uneven."""
    with strategy.scope():
        model = three_heads("sgd", batch_norm=True)
    evaluated = {
        f"evaluated{count}": list(model.evaluate(dataset(count), verbose=0, return_dict=True).values())
        for count in (13, 17, 1)
    }
    return evaluated | {f"predicted{count}": model.predict(arrays(count)[0], BATCH, verbose=0)[0] for count in (13, 17)}


def case_small_end(strategy):
    """A last training batch of one example on two replicas: it is left out, so these are the weights of 16 examples."""

    def data(count):
        return dataset(count) if strategy.num_replicas_in_sync > 1 else dataset(count).take(count // BATCH)

    return trained(strategy, sgd, data, count=17, batch_norm=True)


def case_plain(strategy):
    """A model of Keras alone, on batches that divide evenly."""
    keras.utils.set_random_seed(0)
    x, y = arrays(16)
    with strategy.scope():
        model = keras.Sequential([keras.layers.Dense(16, "relu"), keras.layers.Dense(CLASSES, "softmax")])
        model.compile(sgd(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    data = tf.data.Dataset.from_tensor_slices((x.reshape(16, -1), y)).batch(BATCH)
    logs = model.fit(data, epochs=3, verbose=0, shuffle=False, validation_data=data).history
    predicted = model.predict(data, verbose=0)
    return {**weights_of(model), "logs": [logs[name] for name in sorted(logs)], "predicted": predicted}


def case_dropout(strategy):
    """Returns how many of the batch's two examples kept each of 1000 units: one per replica on two replicas."""
    with strategy.scope():
        keras.utils.set_random_seed(0)
        units = keras.Input((1000,))
        y = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")(Dropout(0.5)(units))
        model = ki.InceptionModel(units, y)
        model.compile(keras.optimizers.SGD(1.0), loss=lambda _, y: y)
    model.fit(np.ones((2, 1000), "float32"), np.zeros((2, 1)), batch_size=2, verbose=0)
    kept = -model.get_weights()[0][:, 0]  # the mean over two examples of a mask of 0 and 2
    return {"kept": np.round(kept).astype(int)}


def case_reads(strategy):
    """Returns how many of 16 examples a training, and an evaluation, reads of a source."""
    images, labels = arrays(16)
    reads = []

    def source():
        for example in zip(images, labels):
            reads.append(1)
            yield example

    specification = (tf.TensorSpec((8, 8, 3), tf.float32), tf.TensorSpec((), tf.int64))
    data = tf.data.Dataset.from_generator(source, output_signature=specification).batch(BATCH)
    with strategy.scope():
        model = three_heads("sgd")
    model.fit(data, verbose=0, shuffle=False)
    training = len(reads)
    model.evaluate(data, verbose=0)
    return {"training": training, "evaluation": len(reads) - training}


def case_seed(strategy):
    return {"drawn": tf.random.uniform([4]).numpy()}


def case_chief_writes(strategy):
    with strategy.scope():
        model = three_heads(sgd(), batch_norm=True, dropout=0.5)
    before = own_attributes(model)
    model.fit(dataset(16), verbose=0, shuffle=False)
    path = os.path.join(ARGUMENTS.out, f"{distribute.worker_index(strategy)}.keras")
    if distribute.is_chief(strategy):
        model.save(path)
    model.fit(dataset(16), verbose=0, shuffle=False)
    return {"own": sorted(own_attributes(model) - before), "wrote": os.path.exists(path), **weights_of(model)}


def own_attributes(model):
    """Returns the attributes of a model, its optimizer and layers that hide one of their class, by owner."""
    seeds = [x.seed_generator for x in model.layers if hasattr(x, "seed_generator")]
    owners = [model, model.optimizer, *model.layers, *seeds]
    return {f"{owner.name}.{name}" for owner in owners for name in vars(owner) if hasattr(type(owner), name)}


def case_googlenet(strategy):
    """Two steps of the real network at its smallest size, three heads and batch norm, no dropout.

    In float64: batch norm over four images multiplies what float32 rounds in another order by ten thousand.
    """
    keras.config.set_floatx("float64")
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = ki.GoogLeNet(
            input_shape=(32, 32, 3), classes=CLASSES, architecture="googlenet_small", dropout=0, aux_dropout=0
        )
        ki.compile_model(model, keras.optimizers.SGD(0.01))
    images, labels = arrays(8, 32)
    data = tf.data.Dataset.from_tensor_slices((images.astype("float64"), labels)).batch(4)
    logs = model.fit(data, verbose=0, shuffle=False).history
    return {**weights_of(model), "loss": logs["loss"]}


def case_refusals(strategy):
    """Returns the text with which each setting is refused."""
    settings = {
        "steps_per_execution": ({"steps_per_execution": 2}, {}),
        "jit_compile": ({"jit_compile": True}, {}),
        "gradient_accumulation_steps": ({}, {"gradient_accumulation_steps": 2}),
        "clipnorm": ({}, {"clipnorm": 1.0}),
        "clipvalue": ({}, {"clipvalue": 1.0}),
        "global_clipnorm": ({}, {"global_clipnorm": 1.0}),
        "ema_overwrite_frequency": ({}, {"use_ema": True, "ema_overwrite_frequency": 2}),
    }
    models = {"scope": three_heads("sgd")}
    for name, (compiled, optimized) in settings.items():
        with strategy.scope():
            models[name] = ki.compile_model(three_heads("sgd"), keras.optimizers.SGD(0.1, **optimized), **compiled)
    refused = {}
    for name, model in models.items():
        try:
            distribute.check_trainable(model, strategy)
        except ki.InputError as error:
            refused[name] = str(error)
    try:
        models["jit_compile"].fit(dataset(16), verbose=0)
    except ki.InputError as error:
        refused["fit"] = f"{error} Steps: {int(models['jit_compile'].optimizer.iterations.numpy())}"
    return refused


def case_loses_a_worker(strategy):
    """Worker 1 dies in its second epoch, worker 0 learns of it."""
    with strategy.scope():
        model = three_heads("sgd")

    class Die(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1 and distribute.worker_index(strategy) == ARGUMENTS.dies:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        with distribute.lost_workers(strategy):
            model.fit(dataset(16), epochs=1000, verbose=0, shuffle=False, callbacks=[Die()])
    except distribute.WorkerLostError as error:
        sys.stdout.write(f"Lost: {error}\n")
        sys.exit(7)
    return {}


def case_resumed(strategy):
    """A run that SIGTERM ended within its second epoch and that went on, and one that was not interrupted."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tiny_network import TINY

    class Ended(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 8:
                os.kill(os.getpid(), signal.SIGTERM)

    name = "mirrored" if strategy.num_replicas_in_sync > 1 else "one"
    options = {"epochs": 3, "batch_size": 256, "image_size": 14, "train_image_size": 10, "final_epochs": 1}
    config = ki.TrainConfig.of(dataset="digits", architecture=TINY, strategy=name, **options)
    quiet, found = {"verbose": 0, "report": lambda message: None}, {}
    folder = os.path.join(ARGUMENTS.out, name)
    try:
        ki.train(config, folder, callbacks=Ended(), **quiet)
    except StoppedError as error:
        found["steps"] = "1 epoch and 2 steps" in str(error)
    for key, run in (
        ("parts", ki.train(None, folder, resume=True, **quiet)),
        ("whole", ki.train(config, folder + "-whole", **quiet)),
    ):
        found |= {f"{key}_{weight}": value for weight, value in weights_of(run.model).items()}
        rows = files.read_table(run.folder / "history.csv", ["epoch", "main_accuracy", "loss"])
        found[f"{key}_logs"] = [[float(row["main_accuracy"]), float(row["loss"])] for row in rows]
    return found


def main():
    if ARGUMENTS.devices > 1:
        devices = [tf.config.LogicalDeviceConfiguration()] * ARGUMENTS.devices
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    strategy = distribute.get_strategy("mirrored" if ARGUMENTS.devices > 1 else "auto")
    strategies = {"": strategy}
    if ARGUMENTS.devices > 1:
        strategies["one/"] = tf.distribute.get_strategy()  # what one device gives, to compare with
    worker = distribute.worker_index(strategy)
    results = {"replicas": strategy.num_replicas_in_sync, "worker": worker}
    for case in ARGUMENTS.cases.split(","):
        for prefix, chosen in strategies.items():
            if not prefix or case not in ("refusals", "reads", "seed", "resumed"):
                found = globals()[f"case_{case}"](chosen)
                results |= {f"{prefix}{case}/{name}": np.asarray(value) for name, value in found.items()}
    np.savez(os.path.join(ARGUMENTS.out, f"{worker}.npz"), **results)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("cases")
    parser.add_argument("out")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--dies", type=int)
    ARGUMENTS = parser.parse_args()
    warnings.simplefilter("ignore")
    main()
