"""Shows that training works: both graphs on handwritten digits with several seeds, and on 5,000 CIFAR-10 images.

Each training is `keras_inception.train` with the defaults of `keras-inception train` (for CIFAR-10 10 epochs, and
bfloat16 where the hardware has it), in a process of its own, so that its time and its memory are its own. A training
that is there already is not repeated.

    python benchmarks/learning.py digits --out results
    python benchmarks/learning.py cifar10 --images cifar10-train.tar.xz --out results
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from class_folders import unpacked
from machine import machine, versions

COMPARED = ("googlenet", "googlenet_bn")
CIFAR10_EPOCHS, CIFAR10_IMAGES_PER_CLASS = 10, 500


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", choices=["digits", "cifar10"])
    parser.add_argument("--out", type=Path, default=Path("learning"), help="where the runs are written")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each graph on digits")
    parser.add_argument("--images", type=Path, help="archive of CIFAR-10's training images as class folders")
    arguments = parser.parse_args()
    if arguments.which == "digits":
        results = [
            trained(arguments.out / f"digits-{architecture}-{seed}", architecture=architecture, seed=seed)
            for architecture in COMPARED
            for seed in range(arguments.seeds)
        ]
    else:
        images = unpacked(arguments.images, arguments.out / "cifar10-images", CIFAR10_IMAGES_PER_CLASS)
        options = {"dataset": str(images), "epochs": CIFAR10_EPOCHS, "precision": "auto"}
        results = [
            trained(arguments.out / f"cifar10-{architecture}", architecture=architecture, **options)
            for architecture in COMPARED
        ]
    print_table(results)


def trained(folder, **options):
    """Trains in a process of its own, unless that was done; returns what was measured."""
    measured = folder / "measured.json"
    if not measured.exists():
        code = "import sys; sys.path.insert(0, sys.argv[1]); import learning; learning.train(*sys.argv[2:])"
        here = str(Path(__file__).parent)
        subprocess.run([sys.executable, "-c", code, here, str(folder), json.dumps(options)], check=True)
    return json.loads(measured.read_text())


def train(folder, options):
    import keras_inception as ki
    from keras_inception import files
    from keras_inception.training import precision

    start = time.perf_counter()
    config = ki.TrainConfig.of(**json.loads(options))
    run = ki.train(config, folder, overwrite=True, verbose=2)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "architecture": config.resolved_architecture.name,
        "dataset": Path(config.dataset).name,
        "precision": precision.resolve(config.precision)[0],
        "seed": config.seed,
        "epochs": config.recipe.epochs,
        "accuracy": {head: metrics["accuracy"] for head, metrics in run.results.items()},
        "sizes": run.sizes,
        "validation": [float(row["val_main_accuracy"]) for row in files.read_table(run.folder / "history.csv")],
        "wall_seconds": time.perf_counter() - start,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "gibibytes": usage.ru_maxrss / 2**20,
    }
    files.write_json(run.folder / "measured.json", result)


def print_table(results):
    from rich.console import Console
    from rich.table import Table

    print(machine(len(os.sched_getaffinity(0))))
    print(versions(TensorFlow="tensorflow", Keras="keras"))
    columns = ("graph", "precision", "seed", "epochs", "main", "aux1", "aux2", "test images", "wall s", "CPU s", "GiB")
    table = Table(*columns, title=results[0]["dataset"])
    for result in results:
        accuracy = [f"{result['accuracy'][head]:.2%}" for head in ("main", "aux1", "aux2")]
        table.add_row(
            result["architecture"],
            result["precision"],
            str(result["seed"]),
            str(result["epochs"]),
            *accuracy,
            str(result["sizes"]["test"]),
            f"{result['wall_seconds']:.0f}",
            f"{result['cpu_seconds']:.0f}",
            f"{result['gibibytes']:.2f}",
        )
    Console(width=120).print(table)
    for result in results:
        curve = " ".join(f"{value:.3f}" for value in result["validation"])
        print(f"{result['architecture']}, seed {result['seed']}, main's validation accuracy by epoch: {curve}")


if __name__ == "__main__":
    main()
