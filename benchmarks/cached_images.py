"""Times three epochs of reading 500x375 photographs, with decoded images kept in memory, on disk, and not.

The time is CPU time of the whole process, without a network, over the images of training and validation. The network
sees the middle of each image, or a random window of 8% to 100% of its area. Every repeat runs all rows one after the
other. What is read ahead of the next epoch, a few batches of 8, counts to the one before.

    python benchmarks/cached_images.py
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

from input_pipeline import CROP_AND_FLIP, write_images
from machine import machine, row, table, versions

from keras_inception import data
from keras_inception.recipes import Augmentation

IMAGES = {"the middle": Augmentation(), "random windows": CROP_AND_FLIP}
PLACES = ("nowhere", "memory", "disk")


def epochs(folder, place, augmentation, count):
    """Returns the milliseconds of CPU time that an image takes in each epoch, and how large the kept images are."""
    loaded = data.load(folder, image_size=224, batch_size=8, augmentation=augmentation, test_fraction=0, cache=place)
    images = loaded.sizes["train"] + loaded.sizes["validation"]
    training, validation, found = iter(loaded.train_from(0)), loaded.validation, []
    for _ in range(count):
        begun = time.process_time()
        for _ in range(loaded.steps_per_epoch):
            next(training)
        for _ in validation:
            pass
        found.append((time.process_time() - begun) * 1000 / images)
    return found, loaded.cached_bytes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=150, help="of each of two classes (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{machine(os.cpu_count())}; {versions(TensorFlow='tensorflow')}")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("ants", "bees"):
            (Path(folder) / "images" / name).mkdir(parents=True)
            write_images(Path(folder) / "images" / name, arguments.images, 375, 500, 90)
        times, sizes = {}, {}
        for repeat in range(arguments.repeats):
            for what, augmentation in IMAGES.items():
                for kind in PLACES:
                    kept = Path(folder) / f"kept-{repeat}-{what[:6]}"
                    place = {"nowhere": None, "memory": "memory", "disk": kept}[kind]
                    found, size = epochs(Path(folder) / "images", place, augmentation, 3)
                    times.setdefault((what, kind), []).append(found)
                    sizes[what, kind] = size / (2 * arguments.images) / 1000
    title = f"CPU time, ms an image: {2 * arguments.images} JPEGs of 500x375 to 224x224, {arguments.repeats} repeats"
    table(title, "what is seen", "kept in", "epoch 1", "epoch 2", "epoch 3", "kB kept of an image")
    for (what, kind), found in times.items():
        medians = [f"{statistics.median(each):.2f}" for each in zip(*found)]
        row(what, kind, *medians, f"{sizes[what, kind]:.0f}")


if __name__ == "__main__":
    main()
