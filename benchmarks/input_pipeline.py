"""Times the input pipeline on one core: JPEG files to normalised crops, with windowed decoding and without.

Every row reads the same files, crops 8% to 100% of the area, resizes to 224x224, flips half of the images and
normalises. Every repeat runs all rows one after the other on one core, so that a slow moment of the machine meets all
of them; ratios are taken within each repeat. The time is CPU time, which other programs do not lengthen by waiting. The
last row is torchvision's, where it is installed.

    python benchmarks/input_pipeline.py
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import tensorflow as tf
from machine import cell, machine, ratios, row, table, version, versions
from peers import import_torchvision
from PIL import Image

from keras_inception import data
from keras_inception.data import augmentation
from keras_inception.network.preprocess import preprocess_input
from keras_inception.recipes import PAPER_DISTORTIONS, Augmentation

CROP_AND_FLIP = Augmentation(crop_area=(0.08, 1.0), flip=True)


def write_images(folder, count, height, width, quality):
    """Writes JPEG files with the sizes of photographs: smooth colours and some noise, 4:2:0."""
    paths = []
    for number in range(count):
        random = np.random.default_rng(number)
        small = random.integers(0, 256, (height // 12, width // 12, 3), dtype="uint8")
        image = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC), "float32")
        image = np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype("uint8")
        paths.append(str(Path(folder) / f"{number:04d}.jpg"))
        Image.fromarray(image).save(paths[-1], quality=quality)
    return paths


def pipeline(paths, size, what, *, windowed=True):
    """Returns a function that reads all files once, through `tf.data`; each call is a further epoch."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    epoch = tf.Variable(0, dtype=tf.int64)

    def example(position, path):
        encoded = tf.io.read_file(path)
        source = encoded if windowed else data.decode(encoded)
        image = augmentation.augment(source, (size, size, 3), augmentation.example_seed(0, epoch, position), what)
        return preprocess_input(image, "channels_last")

    dataset = tf.data.Dataset.from_tensor_slices(paths).enumerate().map(example).with_options(options)

    def run():
        epoch.assign_add(1)
        for image in dataset:
            del image

    return run


def torchvision_pipeline(paths, size):
    """Returns the same with torchvision's transforms on Pillow images, as in its recipes."""
    torch, torchvision = import_torchvision()
    transforms = torchvision.transforms
    torch.set_num_threads(1)
    torch.manual_seed(0)
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ]
    )

    def run():
        for path in paths:
            with Image.open(path) as image:
                transform(image.convert("RGB"))

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100, help="JPEG files that are made and read in each repeat")
    parser.add_argument("--height", type=int, default=375, help="of the files, in pixels")
    parser.add_argument("--width", type=int, default=500, help="of the files, in pixels")
    parser.add_argument("--quality", type=int, default=90, help="of the JPEG files, 1 to 95")
    parser.add_argument("--size", type=int, default=224, help="height and width of the crops, in pixels")
    parser.add_argument("--repeats", type=int, default=15, help="times that every row is measured")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])  # before TensorFlow starts its threads

    print(machine(1))
    packages = {"TensorFlow": "tensorflow", "PyTorch": "torch", "torchvision": "torchvision", "Pillow": "pillow"}
    print(versions(**packages))
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(folder, arguments.images, arguments.height, arguments.width, arguments.quality)
        kilobytes = statistics.mean(os.path.getsize(path) for path in paths) / 1000
        print(
            f"{arguments.images} JPEG files of {arguments.width}x{arguments.height}, quality {arguments.quality}, "
            f"4:2:0, {kilobytes:.0f} kB, to {arguments.size}x{arguments.size}; {arguments.repeats} repeats, interleaved"
        )
        rows = {
            "whole image decoded": pipeline(paths, arguments.size, CROP_AND_FLIP, windowed=False),
            "window decoded": pipeline(paths, arguments.size, CROP_AND_FLIP),
            "window decoded, all of the paper's": pipeline(paths, arguments.size, PAPER_DISTORTIONS),
        }
        if version("torchvision") != "not installed":
            rows["torchvision and Pillow"] = torchvision_pipeline(paths, arguments.size)
        seconds = {name: [] for name in rows}
        for run in rows.values():
            run()  # reads the files and traces
        for _ in range(arguments.repeats):
            for name, run in rows.items():
                start = time.process_time()
                run()
                seconds[name].append(time.process_time() - start)

    table(
        "Images a second of one core: median (quartiles); ratio: to the first row, above 1 is faster.",
        "pipeline", "images a second", "ratio",
    )  # fmt: skip
    for name, times in seconds.items():
        rate = cell([arguments.images / time for time in times], ".0f")
        row(name, rate, cell(ratios(seconds["whole image decoded"], times)))


if __name__ == "__main__":
    main()
