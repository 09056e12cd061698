"""Trains on CIFAR-10 through whichever backend Keras runs on, and writes down what was reached and what it took.

A tenth of the images, drawn by the seed (5,000 of CIFAR-10's 50,000), is kept for validation; of the others each batch
is cropped after 4 pixels of reflecting padding, mirrored by halves, and loses a square of 8x8, all drawn anew in each
epoch. The network scales its images up itself where `--size` is more than 32.

    python benchmarks/cifar10.py --images cifar10-train.tar.xz --limit 500 --epochs 10 --batch-size 32
    KERAS_BACKEND=jax python benchmarks/cifar10.py --images cifar10-train.tar.xz --epochs 60

JAX and PyTorch need no TensorFlow. The folder `--out` gets history.csv, curves.png and result.json.
"""

import argparse
import math
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from class_folders import unpacked
from machine import machine, versions
from PIL import Image

import keras_inception as ki
from keras_inception import files, plots, recipes
from keras_inception.training import optimizers

PIXELS, PADDING, CUT_OUT = 32, 4, 8
VALIDATION_SHARE = 0.1
BASE_BATCH_SIZE = 256  # that of the rates below; for other sizes SGD's is scaled in proportion, Adam's by the root
SGD = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4}
ADAM = {"optimizer": "adam", "learning_rate": 1.4e-3}  # for the graph without batch norm; 5e-4 at 32, as in `quick`
OPTIMIZERS = {"googlenet_small": SGD, "googlenet_bn": SGD, "googlenet": ADAM}
SIZES = {"googlenet_small": 32, "googlenet_bn": 96, "googlenet": 96}


@dataclass(frozen=True)
class Images:
    """Images `(count, 32, 32, 3)`, uint8, and labels `(count,)`, int32, in two parts."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    class_names: list[str]


def load(folder, limit, seed):
    """Reads a folder of class folders (of each class `limit` images, if it is given), and splits it by the seed."""
    class_names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    random, images, labels = np.random.default_rng(seed), [], []
    for label, name in enumerate(class_names):
        paths = sorted((folder / name).iterdir())
        for index in random.permutation(len(paths))[:limit]:
            with Image.open(paths[index]) as image:
                images.append(np.asarray(image.convert("RGB").resize((PIXELS, PIXELS))))
            labels.append(label)
    images, labels, order = np.stack(images), np.array(labels, "int32"), random.permutation(len(labels))
    validation, train = np.split(order, [round(VALIDATION_SHARE * len(order))])
    return Images((images[train], labels[train]), (images[validation], labels[validation]), class_names)


class Batches(keras.utils.PyDataset):
    """Training batches of one size, in a new order in each epoch; the last images of an odd epoch are left out."""

    def __init__(self, images, labels, batch_size, seed, **kwargs):
        super().__init__(**kwargs)
        padding = ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0))
        padded = np.pad(images, padding, mode="reflect")
        # (count, 9, 9, 3, 32, 32): a view of every crop, which takes no memory.
        self.crops = np.lib.stride_tricks.sliding_window_view(padded, (PIXELS, PIXELS), axis=(1, 2))
        self.labels, self.batch_size, self.seed, self.epoch = labels, batch_size, seed, 0
        self.on_epoch_end()

    def __len__(self):
        return len(self.labels) // self.batch_size

    def __getitem__(self, index):
        random = np.random.default_rng((self.seed, self.epoch, index))  # threads and their order change nothing
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        top, left = random.integers(0, 2 * PADDING + 1, (2, len(chosen)))
        images = self.crops[chosen, top, left].transpose(0, 2, 3, 1)  # (batch, 32, 32, 3)
        mirrored = random.random(len(chosen)) < 0.5
        images[mirrored] = images[mirrored, :, ::-1]
        centres = random.integers(0, PIXELS + 1, (2, len(chosen), 1))
        rows, columns = np.abs(np.arange(PIXELS) + 0.5 - centres) < CUT_OUT / 2
        images[rows[:, :, None] & columns[:, None, :]] = 127  # the grey that is 0 after preprocessing
        return images, self.labels[chosen]

    def on_epoch_end(self):
        self.epoch += 1
        self.order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.labels))


class Clock(keras.callbacks.Callback):
    """Measures the training part of each epoch, and stops when another epoch would not end in time."""

    def __init__(self, minutes):
        super().__init__()
        self.minutes, self.seconds = minutes, []
        self.start = time.perf_counter()

    def on_epoch_begin(self, epoch, logs=None):
        self.begin = time.perf_counter()

    def on_test_begin(self, logs=None):
        self.seconds.append(time.perf_counter() - self.begin)

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter()
        if self.minutes and now - self.start + (now - self.begin) > 60 * self.minutes:
            self.model.stop_training = True


def accelerator():
    """Returns the name of the device that the backend computes on; None for a processor."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return None if jax.default_backend() == "cpu" else jax.devices()[0].device_kind
    if backend == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else None
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else None


def build(arguments, class_names, steps_per_epoch):
    """Builds and compiles the network, which takes pixels `(batch, 32, 32, 3)`, uint8."""
    optimizer = OPTIMIZERS[arguments.architecture]
    scale = arguments.batch_size / BASE_BATCH_SIZE
    rate = optimizer["learning_rate"] * (scale if optimizer["optimizer"] == "sgd" else math.sqrt(scale))
    recipe = recipes.Recipe(
        name="cifar10",
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        schedule="cosine",
        warmup_fraction=0.1,
        **optimizer | {"learning_rate": rate},
    )
    x = keras.Input((PIXELS, PIXELS, 3), dtype="uint8")
    image = ki.preprocess_input(x)
    if arguments.size != PIXELS:
        image = keras.ops.image.resize(image, (arguments.size, arguments.size))
    model = ki.GoogLeNet(
        architecture=arguments.architecture, input_tensor=image, classes=len(class_names), class_names=class_names
    )
    return ki.compile_model(model, optimizers.optimizer(recipe, steps_per_epoch), label_smoothing=0.1)


def write(out, result, history, heads):
    rows = enumerate(zip(*history.values()), start=1)
    files.write_table(out / "history.csv", [{"epoch": epoch, **dict(zip(history, logs))} for epoch, logs in rows])
    plots.curves(history, heads).savefig(out / "curves.png", dpi=120)
    files.write_json(out / "result.json", result)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of class folders, or an archive of one")
    parser.add_argument("--architecture", choices=list(SIZES), default="googlenet_small")
    parser.add_argument("--size", type=int, help="height and width that images are scaled to; by default 32, or 96")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--minutes", type=float, help="stop before an epoch that would end later")
    parser.add_argument("--batch-size", type=int, default=BASE_BATCH_SIZE)
    parser.add_argument("--limit", type=int, help="images of each class, for a small budget")
    parser.add_argument("--precision", choices=["auto", "float32", "mixed_bfloat16"], default="auto")
    parser.add_argument("--workers", type=int, default=4, help="threads that prepare batches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("cifar10-run"))
    arguments = parser.parse_args()
    arguments.size = arguments.size or SIZES[arguments.architecture]
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = accelerator()
    if arguments.precision == "auto":  # every accelerator of today has bfloat16
        arguments.precision = "mixed_bfloat16" if device else "float32"
    keras.config.set_dtype_policy(arguments.precision)
    keras.utils.set_random_seed(arguments.seed)

    folder = arguments.images
    if folder.is_file():
        folder = unpacked(folder, arguments.out / "images")
    images = load(folder, arguments.limit, arguments.seed)
    batches = Batches(*images.train, arguments.batch_size, arguments.seed, workers=arguments.workers, max_queue_size=32)
    if not len(batches):
        parser.error(f"{len(images.train[1])} training images make no batch of {arguments.batch_size}")
    model = build(arguments, images.class_names, len(batches))
    clock = Clock(arguments.minutes)
    history = model.fit(
        batches,
        validation_data=images.validation,
        validation_batch_size=math.gcd(1000, len(images.validation[1])),  # one shape, traced once
        epochs=arguments.epochs,
        callbacks=[clock],
        verbose=2,
    ).history

    heads = model.output_names
    result = {
        "device": device or machine(len(os.sched_getaffinity(0))),
        "versions": versions(Keras="keras", **{keras.backend.backend(): keras.backend.backend()}),
        "backend": keras.backend.backend(),
        "architecture": arguments.architecture,
        "size": arguments.size,
        "precision": arguments.precision,
        "seed": arguments.seed,
        "batch_size": arguments.batch_size,
        "train_images": len(images.train[1]),
        "validation_images": len(images.validation[1]),
        "epochs": len(history["loss"]),
        "epochs_of_the_schedule": arguments.epochs,
        "minutes": (time.perf_counter() - clock.start) / 60,
        # The first epoch is traced and compiled.
        "images_a_second": len(batches) * arguments.batch_size / statistics.median(clock.seconds[1:] or clock.seconds),
        "validation_accuracy": {head: history[f"val_{head}_accuracy"][-1] for head in heads},
    }
    write(arguments.out, result, history, heads)
    print(f"{result['device']}; {result['versions']}; seed {arguments.seed}; {result['train_images']:,} images")
    print(
        "| architecture | backend | type | pixels | batch | epochs | minutes | images a second | main / aux1 / aux2 |"
    )
    print(f"|{'---|' * 9}")
    accuracy = " / ".join(f"{value:.2%}" for value in result["validation_accuracy"].values())
    cells = (
        arguments.architecture, result["backend"], arguments.precision, arguments.size, arguments.batch_size,
        result["epochs"], f"{result['minutes']:.1f}", f"{result['images_a_second']:,.0f}", accuracy,
    )  # fmt: skip
    print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
