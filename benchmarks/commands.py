"""Times the start of the command: an answer from the shell, and the first step of a training.

Every repeat is a process of its own, and all rows take turns, so that a slow moment of the machine meets all of them;
ratios are taken within each repeat. CPU time is that of all threads; other programs lengthen the wall-clock time.

    python benchmarks/commands.py
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from machine import cell, machine, ratios, row, table, versions

SIZE, CLASSES, BATCH = 224, 1000, 16
HEADS = {"main": 1.0, "aux1": 0.3, "aux2": 0.3}


def of_process(command):
    """Returns the wall-clock time and the CPU time of a process, in seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def of_part(name, *arguments):
    """Returns the same of a part of a process, which `main` runs under this name."""
    command = [sys.executable, __file__, "--part", name, *arguments]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(run.stdout.splitlines()[-1])


def timed(run):
    start = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def write_run(folder):
    """Writes a network that was compiled and trained for a step, as a run has it, and a photograph."""
    import keras
    import numpy as np
    from input_pipeline import write_images

    import keras_inception as ki

    keras.utils.set_random_seed(0)
    model = ki.GoogLeNet(input_shape=(SIZE, SIZE, 3), classes=CLASSES)
    model.fit(np.zeros((1, SIZE, SIZE, 3), "float32"), np.zeros(1), verbose=0)
    model.save(Path(folder, "model.keras"))
    write_images(folder, 1, 375, 500, 90)


def answer(run, image):
    """Times one answer of a loaded model, the first of its process: the file is read, and the network computes."""
    import keras_inception as ki

    classifier = ki.Classifier(run, run_eagerly=True)
    return timed(lambda: list(classifier.predict_files([image])))


def first_step(whose):
    """Times `compile` and a `fit` of one step: of this package's model, or of plain Keras's on the same graph."""
    import keras
    import numpy as np

    import keras_inception as ki

    keras.utils.set_random_seed(0)
    model = ki.GoogLeNet(input_shape=(SIZE, SIZE, 3), classes=CLASSES)
    images = np.random.default_rng(0).uniform(-1, 1, (BATCH, SIZE, SIZE, 3)).astype("float32")
    labels = np.arange(BATCH)

    def ours():
        ki.compile_model(model, keras.optimizers.SGD(0.01, momentum=0.9))
        model.fit(images, labels, batch_size=BATCH, verbose=0)

    def plain():
        same = keras.Model(model.inputs, dict(zip(model.output_names, model.outputs)))
        same.compile(
            keras.optimizers.SGD(0.01, momentum=0.9),
            dict.fromkeys(HEADS, "sparse_categorical_crossentropy"),
            loss_weights=HEADS,
            metrics=dict.fromkeys(HEADS, "accuracy"),
        )
        same.fit(images, dict.fromkeys(HEADS, labels), batch_size=BATCH, verbose=0)

    return timed(ours if whose == "ours" else plain)


PARTS = {"answer": answer, "first step": first_step}


def print_rows(runs, repeats):
    """Prints a row for each of the runs; ratios are to the first one."""
    seconds = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            seconds[name].append(run())
    wall, cpu = ({name: [pair[i] for pair in times] for name, times in seconds.items()} for i in (0, 1))
    first = next(iter(runs))
    for name in runs:
        both = [cell(ratios(times[name], times[first])) for times in (wall, cpu)]
        row(name, cell(wall[name]), cell(cpu[name]), *both)
    return wall, cpu


def answer_table(repeats):
    with tempfile.TemporaryDirectory() as folder:
        write_run(folder)
        [image] = (str(path) for path in Path(folder).glob("*.jpg"))
        predict = [str(Path(sys.executable).with_name("keras-inception")), "predict", folder, image]
        runs = {
            '`python -c "import keras"`': lambda: of_process([sys.executable, "-c", "import keras"]),
            "`keras-inception predict RUN image`": lambda: of_process(predict),
            "the answer alone": lambda: of_part("answer", folder, image),
        }
        for times, what in zip(print_rows(runs, repeats), ("wall-clock", "CPU")):
            imported, predicted, answered = times.values()
            beside = [(a - b) / c for a, b, c in zip(predicted, answered, imported)]
            print(f"without the answer, beside the import, {what} time: {cell(beside)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="times that every row is measured, at least 2")
    parser.add_argument("--tables", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(PARTS[arguments.part[0]](*arguments.part[1:])))
        return
    print(machine(len(os.sched_getaffinity(0))))
    print(versions(TensorFlow="tensorflow", Keras="keras"))
    columns = "wall-clock time", "CPU time", "ratio of wall-clock time", "of CPU time"
    form = "median (quartiles), seconds; ratio: to the first row"
    if "answer" in arguments.tables:
        table(f"The paper's network, {SIZE}x{SIZE}; {form}.", "", *columns)
        answer_table(arguments.repeats)
    if "first step" in arguments.tables:
        table(f"`compile` and the first step of `fit`, batch {BATCH}; {form}.", "", *columns)
        runs = {
            "plain Keras on the same graph": lambda: of_part("first step", "plain"),
            "this package": lambda: of_part("first step", "ours"),
        }
        print_rows(runs, arguments.repeats)


if __name__ == "__main__":
    main()
