"""Times how a folder of images is read before a training, beside Keras's reader of folders, which looks into no file.

Every repeat runs all rows one after the other, so that a slow moment of the machine meets all of them; ratios are taken
within each repeat. The files are in memory already. CPU time is that of all threads; other programs lengthen the
wall-clock time. `--million` reads a made-up list of as many paths and says what memory that takes.

    python benchmarks/start.py
    python benchmarks/start.py --million
"""

import argparse
import os
import resource
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from unittest import mock

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
from input_pipeline import write_images
from machine import cell, machine, ratios, row, table, versions
from PIL import Image

from keras_inception import data, files
from keras_inception.data import checking, folder

CLASSES = 10
DISTINCT = 50  # files of each kind; the others are copies


def write_folder(root, count, write):
    """Writes class folders with `count` files, copies of those that `write(folder)` makes."""
    with tempfile.TemporaryDirectory() as aside:
        originals = write(aside)
        for number in range(count):
            path = root / f"class-{number % CLASSES}" / f"{number:06d}{Path(originals[0]).suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(originals[number % len(originals)], path)
    return root


def write_small(aside):
    """Writes PNG files of 32x32."""
    random = np.random.default_rng(0)
    paths = [f"{aside}/{number}.png" for number in range(DISTINCT)]
    for path in paths:
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype="uint8")).resize((32, 32)).save(path)
    return paths


def timed(run):
    """Returns the wall-clock time and the CPU time of a call, in seconds."""
    start = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def measure(root, repeats):
    """Prints a row for each way to read a folder."""

    def first():
        shutil.rmtree(os.environ["KERAS_HOME"], ignore_errors=True)
        folder.read(root, 0, 0.1, 0.1)

    def full():
        shutil.rmtree(os.environ["KERAS_HOME"], ignore_errors=True)
        folder.read(root, 0, 0.1, 0.1, full_check=True)

    rows = {
        "`image_dataset_from_directory`": lambda: keras.utils.image_dataset_from_directory(root, verbose=False),
        "headers, the first time": first,
        "again": lambda: folder.read(root, 0, 0.1, 0.1),
        "full check, the first time": full,
    }
    print_in_turns(rows, repeats)


def measure_passes(root, repeats):
    """Prints a row for the first batch of 32 images, scaled to 96x96, of a pass over each kind of dataset."""
    of_keras = keras.utils.image_dataset_from_directory(root, image_size=(96, 96), shuffle=False, verbose=False)
    ours = data.load(root, image_size=96, architecture="googlenet_bn")
    datasets = {
        "`image_dataset_from_directory`": of_keras,
        "`validation` of `data.load`": ours.validation,
        "`train` of it": ours.train,
    }
    print_in_turns(
        {name: partial(lambda dataset: next(iter(dataset)), dataset) for name, dataset in datasets.items()}, repeats
    )


def print_in_turns(rows, repeats):
    """Runs functions by name in turns, once before they are timed, and prints a row for each."""
    for run in rows.values():
        run()
    seconds = {name: [] for name in rows}
    for _ in range(repeats):
        for name, run in rows.items():
            seconds[name].append(timed(run))
    wall, cpu = ({name: [pair[i] for pair in times] for name, times in seconds.items()} for i in (0, 1))
    keras_wall, keras_cpu = next(iter(wall.values())), next(iter(cpu.values()))
    for name in rows:
        both = cell(ratios(wall[name], keras_wall)), cell(ratios(cpu[name], keras_cpu))
        row(name, cell(wall[name]), cell(cpu[name]), *both)


def memory(count):
    """Prints the memory of a made-up list of files: read, its record written and read again, and shuffled."""

    def made_up(path):
        return (f"{path}/photograph_{number:012d}.jpg" for number in range(count // CLASSES))

    def look(path, known, full):
        return (len(path), 1, 1, hash(path) % 2**32, 500, False, False), ""

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    with tempfile.TemporaryDirectory() as aside:
        root, note = Path(aside, "images"), Path(aside, "data.json")
        for number in range(CLASSES):
            (root / f"class-{number}").mkdir(parents=True)
        before = peak()
        with mock.patch.object(folder, "files_in", made_up), mock.patch.object(checking, "_look", look):
            files.write_json(note, folder.read(root, 0, 0.1, 0.1).record)
            found = folder.read(root, 0, 0.1, 0.1, record=files.read_json(note))
        next(iter(found.examples("train").shuffle(found.shuffle_buffer, seed=0)))
        print(f"{count:,} paths: {peak() - before:.0f} MiB above the {before:.0f} MiB of the imported packages")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", type=int, default=60_000, help="PNG files of 32x32")
    parser.add_argument("--photographs", type=int, default=3_000, help="JPEG files of 500x375")
    parser.add_argument("--repeats", type=int, default=5, help="times that every row is measured, at least 2")
    parser.add_argument("--million", action="store_true", help="measure the memory of a million made-up paths instead")
    arguments = parser.parse_args()
    print(machine(len(os.sched_getaffinity(0))))
    print(versions(TensorFlow="tensorflow", Keras="keras", Pillow="pillow"))
    with tempfile.TemporaryDirectory() as aside:
        os.environ["KERAS_HOME"] = f"{aside}/keras"
        if arguments.million:
            memory(10**6)
            return
        kinds = {
            f"{arguments.small:,} PNG files of 32x32": (arguments.small, write_small),
            f"{arguments.photographs:,} JPEG files of 500x375": (
                arguments.photographs,
                lambda folder: write_images(folder, DISTINCT, 375, 500, 90),
            ),
        }
        for name, (count, write) in kinds.items():
            root = write_folder(Path(aside, name), count, write)
            table(
                f"{name}: median (quartiles), seconds; ratio: to the first row, above 1 is slower.",
                "reader", "wall-clock time", "CPU time", "ratio of wall-clock time", "of CPU time",
            )  # fmt: skip
            measure(root, arguments.repeats)
        table(
            "The first batch of a pass over the last folder: median (quartiles), seconds; ratio: to the first row.",
            "dataset", "wall-clock time", "CPU time", "ratio of wall-clock time", "of CPU time",
        )  # fmt: skip
        measure_passes(root, 5 * arguments.repeats)


if __name__ == "__main__":
    main()
