"""Measures what the interpolation of random crops does to accuracy: trainings that differ in it alone.

CIFAR-10's images of 32x32 become 16x16, so that crops of half to all of the area are reduced 1.4 to 2 times, as those
of a photograph of 500x375 mostly are for 224x224. Validation is antialiased in all of them. Each seed trains with every
interpolation: the same first weights, images in the same order, and the same windows.

    python benchmarks/interpolation.py --images cifar10-train.tar.xz --out results

A training that is there already is not repeated; one that was interrupted goes on.
"""

import argparse
import os
from functools import partial
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from class_folders import unpacked
from machine import machine, row, table, versions
from scipy import stats

import keras_inception as ki
from keras_inception import files
from keras_inception.data.augmentation import windows


def plain(image, height, width):
    return tf.image.resize(image, (height, width))


WAYS = {
    "antialiased": partial(windows.resize_by_scale, antialias=True),  # as random crops of at most 96x96
    "by areas": partial(windows.resize_by_scale, antialias=False),  # as larger ones
    "not antialiased": plain,
}
REFERENCE = "antialiased"


def ignoring(resize, image, height, width, *, antialias):
    """Resizes as it is told to, whatever the size says."""
    return resize(image, height, width)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="an archive of CIFAR-10's training images")
    parser.add_argument("--out", type=Path, default=Path("interpolation"), help="where the runs are written")
    parser.add_argument("--per-class", type=int, default=1500, help="images of each class; a quarter validates")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    images = unpacked(arguments.images, arguments.out / f"images-{arguments.per_class}", arguments.per_class)
    accuracies = {way: [] for way in WAYS}
    for seed in arguments.seeds:
        config = ki.TrainConfig.of(
            dataset=str(images.resolve()), architecture="googlenet_small", width=0.15, image_size=16,
            epochs=arguments.epochs, batch_size=128, optimizer="sgd", learning_rate=0.1, weight_decay=5e-4,
            warmup_fraction=0.15, dropout=0.0, crop_area=(0.5, 1), flip=True, cache="memory", precision="auto",
            validation_fraction=0.25, test_fraction=0, seed=seed,
        )  # fmt: skip
        for way, resize in WAYS.items():
            windows.resize_by_scale = partial(ignoring, resize)
            folder = arguments.out / f"{way.replace(' ', '-')}-{seed}"
            if not (folder / "results.json").is_file():
                ki.train(config, folder, verbose=0)
            history = files.read_table(folder / "history.csv")
            accuracies[way].append(100 * float(history[-1]["val_main_accuracy"]))
    sizes = f"{arguments.per_class * 7.5:,.0f} images of CIFAR-10, {arguments.epochs} epochs"
    print(machine(len(os.sched_getaffinity(0))))
    print(versions(TensorFlow="tensorflow", Keras="keras"))
    table(f"{sizes}, seeds {' '.join(map(str, arguments.seeds))}", "", "validation accuracy, %", f"less {REFERENCE}")
    for way, found in accuracies.items():
        row(way, f"{np.mean(found):.2f}", "-" if way == REFERENCE else difference(found, accuracies[REFERENCE]))
    for way, found in accuracies.items():
        print(f"\n{way}: {' '.join(f'{value:.2f}' for value in found)}", end="")
    print()


def difference(found, reference):
    """Returns the mean difference over the seeds and half of its 95% interval, by Student's t."""
    differences = np.subtract(found, reference)
    half = stats.sem(differences) * stats.t.ppf(0.975, len(differences) - 1)
    return f"{np.mean(differences):+.2f} +- {half:.2f}"


if __name__ == "__main__":
    main()
