"""Shows what fine-tuning brings when images are few: from weights that were trained here on other classes, or afresh.

Seven classes of CIFAR-10 train a network. The other three, with few images each, then train one that begins with its
weights, one of which the rows up to `inception_4e` keep them (`--freeze-through`), and one that begins with random
numbers; 500 further images of each of these classes measure all three. What is drawn depends on the seed, and no image
is in two parts. A training that is there already is not repeated; one that was interrupted goes on.

    python benchmarks/fine_tuning.py --images cifar10-train.tar.xz --out results

The folder `--out` gets fine_tuning.csv and fine_tuning.png.
"""

import argparse
import itertools
import os
import random
import statistics
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from class_folders import unpacked
from machine import machine, row, table, versions

NEW = 3  # classes, the last ones in the order of their names
COUNTS = (20, 100, 500)  # images of each of them to train on
MEASURED = 500  # and to measure with
STARTS = {
    "pretrained": {"learning_rate": 0.001},
    "pretrained, frozen": {"learning_rate": 0.001, "freeze_through": "inception_4e"},
    "random": {"learning_rate": 0.003},
}
NETWORK = {"architecture": "googlenet_bn", "width": 0.5, "image_size": 80}
RECIPE = {
    "warmup_fraction": 0.1, "weight_decay": 0.1, "label_smoothing": 0.1, "dropout": 0.2, "crop_area": (0.5, 1),
    "flip": True, "precision": "auto", "validation_fraction": 0,
    "cache": "memory",
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="class folders, or an archive of them")
    parser.add_argument("--out", type=Path, default=Path("fine-tuning"), help="where the runs are written")
    parser.add_argument("--epochs", type=int, default=12, help="of the training on the seven classes")
    parser.add_argument("--fine-tuning-epochs", type=int, default=30, help="of each training on the three")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the trainings on the three")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    folder = arguments.images
    if folder.is_file():
        folder = unpacked(folder, arguments.out / "images")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    old, new = names[:-NEW], names[-NEW:]

    pretrained = arguments.out / "pretrained"
    classes = linked(arguments.out / "old", {"train": {name: sorted((folder / name).iterdir()) for name in old}})
    options = {**NETWORK, **RECIPE, "learning_rate": 0.003, "batch_size": 128, "epochs": arguments.epochs, "seed": 0}
    accuracy, seconds = trained(pretrained, classes / "train", options)
    print(machine(len(os.sched_getaffinity(0))))
    print(versions(TensorFlow="tensorflow", Keras="keras"))
    print(f"{', '.join(old)}: {arguments.epochs} epochs in {seconds:.0f} s of CPU time, test accuracy {accuracy:.2%}")

    rows = []
    for count, seed in itertools.product(COUNTS, arguments.seeds):
        images = linked(arguments.out / f"new-{count}-{seed}", drawn(folder, new, count, seed))
        for start, own in STARTS.items():
            options = {**NETWORK, **RECIPE, **own, "batch_size": 32, "seed": seed}
            options["epochs"] = arguments.fine_tuning_epochs
            if start != "random":
                options["weights"] = str(pretrained.resolve())
            name = f"{start.replace(', ', '-')}-{count}-{seed}"
            accuracy, seconds = trained(arguments.out / name, images, options)
            rows.append({"images": count, "start": start, "seed": seed, "accuracy": accuracy, "cpu_seconds": seconds})
    write(arguments.out, rows)

    title = f"{', '.join(new)}: accuracy of the main head on {MEASURED} others of each class, mean (range) of the seeds"
    table(title, "images of a class", *STARTS)
    for count in COUNTS:
        of = {start: [r["accuracy"] for r in rows if (r["images"], r["start"]) == (count, start)] for start in STARTS}
        row(count, *(f"{statistics.mean(c):.1%} ({min(c):.1%} to {max(c):.1%})" for c in of.values()))


def drawn(folder, names, count, seed):
    """Returns by split and class the images to train on, and those that measure, which the seed decides."""
    splits = {"train": {}, "test": {}}
    for name in names:
        paths = random.Random(f"{name} {seed}").sample(sorted((folder / name).iterdir()), count + MEASURED)
        splits["test"][name], splits["train"][name] = paths[:MEASURED], paths[MEASURED:]
    return splits


def linked(folder, splits):
    """Makes class folders of links to images, unless that was done; returns their folder."""
    if not folder.exists():
        aside = folder.with_name(f"part-{folder.name}")
        for split, classes in splits.items():
            for name, paths in classes.items():
                (aside / split / name).mkdir(parents=True, exist_ok=True)
                for path in paths:
                    link = aside / split / name / path.name
                    if not link.exists():
                        os.link(path, link)
        aside.rename(folder)
    return folder


def trained(folder, images, options):
    """Trains, unless that was done; returns the accuracy of the main head on the test images and the CPU time."""
    import keras_inception as ki
    from keras_inception import files

    measured = folder / "measured.json"
    if not measured.exists():
        start = time.process_time()
        run = ki.train(ki.TrainConfig.of(dataset=str(images), **options), folder, verbose=0)
        result = {"accuracy": run.results["main"]["accuracy"], "cpu_seconds": time.process_time() - start}
        files.write_json(measured, result)
    result = files.read_json(measured)
    return result["accuracy"], result["cpu_seconds"]


def write(out, rows):
    """Writes the accuracies as a table and a plot."""
    from matplotlib.figure import Figure

    from keras_inception import files

    files.write_table(out / "fine_tuning.csv", rows)
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for start in STARTS:
        of_start = [each for each in rows if each["start"] == start]
        means = [statistics.mean(100 * r["accuracy"] for r in of_start if r["images"] == count) for count in COUNTS]
        (line,) = axes.plot(COUNTS, means, label=start)
        axes.plot([r["images"] for r in of_start], [100 * r["accuracy"] for r in of_start], ".", color=line.get_color())
    axes.set(xlabel="training images of a class", ylabel="accuracy of the main head, %", xscale="log")
    axes.set_xticks(COUNTS, map(str, COUNTS))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(title="weights at the start")
    figure.savefig(out / "fine_tuning.png", dpi=120)


if __name__ == "__main__":
    main()
