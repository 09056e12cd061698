"""Shows that training works: on handwritten digits with several seeds, and on all of CIFAR-10's training images.

Through TensorFlow each training is `keras_inception.train`, in a process of its own, so that its time and its memory
are its own. A training that is there already is not repeated; one that was interrupted goes on.

    python benchmarks/learning.py digits --out results
    python benchmarks/learning.py cifar10 --images cifar10-train.tar.xz --out results

CIFAR-10 is trained by the README's recipe; a tenth of the images (5,000), drawn by the seed, is kept for validation.
JAX and PyTorch need no TensorFlow: there `model.fit` reads batches of NumPy, cropped after 4 pixels of reflecting
padding, mirrored by halves, and without a square of 8x8, all drawn anew in each epoch. The network scales them up.

    KERAS_BACKEND=jax python benchmarks/learning.py cifar10 --images cifar10-train.tar.xz --width 1 --minutes 10
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from class_folders import unpacked
from machine import machine, row, table, versions
from PIL import Image

COMPARED = ("googlenet", "googlenet_bn")  # on digits, with the defaults of `keras-inception train`
HEADS = ("main", "aux1", "aux2")

# The README's recipe for CIFAR-10, as options of `keras-inception train`.
CIFAR10 = {
    "architecture": "googlenet_bn", "width": 0.5, "image_size": 96, "epochs": 43, "batch_size": 128,
    "optimizer": "sgd", "learning_rate": 0.1, "warmup_fraction": 0.05, "weight_decay": 0.0005,
    "label_smoothing": 0.1, "dropout": 0.2,
}  # fmt: skip
IMAGES = {
    "train_image_size": 80, "final_epochs": 5, "crop_area": (0.4, 1), "shift": 0.1, "flip": True,
    "cache": "memory", "test_fraction": 0,
}  # fmt: skip

PIXELS, PADDING, CUT_OUT = 32, 4, 8
VALIDATION_SHARE = 0.1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", choices=["digits", "cifar10"])
    parser.add_argument("--images", type=Path, help="CIFAR-10's training images: class folders, or an archive of them")
    parser.add_argument("--out", type=Path, default=Path("learning"), help="where the runs are written")
    parser.add_argument("--seeds", type=int, nargs="+", help="one training each; by default 0 to 4, or for CIFAR-10 0")
    parser.add_argument("--limit", type=int, help="images of each class of CIFAR-10, for a small budget")
    recipe = {**CIFAR10, **IMAGES}
    for name in ("architecture", "width", "image_size", "train_image_size", "epochs", "final_epochs", "batch_size"):
        option, only = f"--{name.replace('_', '-')}", ", TensorFlow alone" if name in IMAGES else ""
        parser.add_argument(option, type=type(recipe[name]), help=f"for CIFAR-10{only}; by default {recipe[name]}")
    parser.add_argument("--precision", default="auto", help="for CIFAR-10; by default bfloat16 where there is one")
    parser.add_argument("--minutes", type=float, help="end before an epoch of CIFAR-10 that would end later")
    arguments = parser.parse_args()
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if arguments.which == "digits":
        seeds = arguments.seeds or range(5)
        runs = [{"architecture": architecture, "seed": seed} for architecture in COMPARED for seed in seeds]
    else:
        if arguments.images is None:
            parser.error("cifar10 needs --images")
        arguments.out.mkdir(parents=True, exist_ok=True)
        folder = arguments.images
        if folder.is_file():
            folder = unpacked(folder, arguments.out / "cifar10-images", arguments.limit)
        wanted = CIFAR10
        if backend == "tensorflow":
            wanted = {**recipe, "dataset": str(folder.resolve()), "max_minutes": arguments.minutes}
        given = {name: getattr(arguments, name) for name in wanted if getattr(arguments, name, None) is not None}
        options = {**wanted, "precision": arguments.precision, **given}
        runs = [{**options, "seed": seed} for seed in arguments.seeds or (0,)]
    results = []
    for options in runs:
        out = arguments.out / f"{arguments.which}-{options['architecture']}-{backend}-{options['seed']}"
        if backend == "tensorflow":
            results.append(trained(out, options))
        else:
            results.append(fitted(out, folder, arguments.limit, arguments.minutes, **options))
    print_table(results)


def trained(folder, options):
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
    run = ki.train(config, folder, verbose=2)
    history = files.read_table(run.folder / "history.csv")
    last = {head: float(history[-1][f"val_{head}_accuracy"]) for head in HEADS}
    result = {
        "architecture": config.resolved_architecture.name,
        "dataset": Path(config.dataset).name,
        "backend": "tensorflow",
        "precision": precision.resolve(config.precision)[0],
        "seed": config.seed,
        "epochs": run.epochs,
        "part": "test" if run.results else "validation",
        "accuracy": {head: metrics["accuracy"] for head, metrics in run.results.items()} or last,
        "sizes": run.sizes,
        "validation": [float(epoch["val_main_accuracy"]) for epoch in history],
        **spent(start),
    }
    files.write_json(run.folder / "measured.json", result)


def spent(start):
    """Returns what this process has taken since it began and since `start`."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall_seconds": time.perf_counter() - start,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "gibibytes": usage.ru_maxrss / 2**20,
    }


def print_table(results):
    print(machine(len(os.sched_getaffinity(0))))
    print(versions(TensorFlow="tensorflow", Keras="keras", JAX="jax", PyTorch="torch"))
    table(
        results[0]["dataset"],
        "network", "backend", "type", "seed", "epochs", "images measured", *HEADS, "wall s", "CPU s", "GiB",
    )  # fmt: skip
    for result in results:
        row(
            *(result[name] for name in ("architecture", "backend", "precision", "seed", "epochs")),
            f"{result['sizes'][result['part']]:,} {result['part']}",
            *(f"{result['accuracy'][head]:.2%}" for head in HEADS),
            f"{result['wall_seconds']:.0f}",
            f"{result['cpu_seconds']:.0f}",
            f"{result['gibibytes']:.2f}",
        )
    print()
    for result in results:
        curve = " ".join(f"{value:.3f}" for value in result["validation"])
        name = f"{result['architecture']}, seed {result['seed']}"
        print(f"{name}, main's validation accuracy by epoch: {curve}")


# Other backends.


@dataclass(frozen=True)
class Images:
    """Images `(count, 32, 32, 3)`, uint8, and labels `(count,)`, int32, in two parts."""

    train: tuple
    validation: tuple
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


class Crops:
    """Training batches of one size, in a new order in each epoch; the last images of an odd epoch are left out."""

    def __init__(self, images, labels, batch_size, seed):
        padding = ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0))
        padded = np.pad(images, padding, mode="reflect")
        # (count, 9, 9, 3, 32, 32): a view of every crop, which takes no memory.
        self.crops = np.lib.stride_tricks.sliding_window_view(padded, (PIXELS, PIXELS), axis=(1, 2))
        self.labels, self.batch_size, self.seed, self.epoch = labels, batch_size, seed, 0
        self.next_epoch()

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

    def next_epoch(self):
        self.epoch += 1
        self.order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.labels))


def accelerator(backend):
    """Returns the name of the device that JAX or PyTorch computes on; None for a processor."""
    if backend == "jax":
        import jax

        return None if jax.default_backend() == "cpu" else jax.devices()[0].device_kind
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def fitted(out, folder, limit, minutes, *, precision, seed, architecture, width, image_size, epochs, batch_size, **of):
    """Trains through whichever backend Keras runs on; writes history.csv, curves.png and measured.json into `out`."""
    import keras

    import keras_inception as ki
    from keras_inception import architectures, files, plots, recipes
    from keras_inception.training import optimizers

    class Batches(keras.utils.PyDataset):
        def __init__(self, crops):
            super().__init__(workers=4, max_queue_size=32)
            self.crops = crops

        def __len__(self):
            return len(self.crops)

        def __getitem__(self, index):
            return self.crops[index]

        def on_epoch_end(self):
            self.crops.next_epoch()

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.begin = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            now = time.perf_counter()
            if minutes and now - start + (now - self.begin) > 60 * minutes:
                self.model.stop_training = True

    start, backend = time.perf_counter(), keras.backend.backend()
    device = accelerator(backend)
    if precision == "auto":  # every accelerator of today has bfloat16
        precision = "mixed_bfloat16" if device else "float32"
    keras.config.set_dtype_policy(precision)
    keras.utils.set_random_seed(seed)
    images = load(folder, limit, seed)
    crops = Crops(*images.train, batch_size, seed)
    if not len(crops):
        raise SystemExit(f"{len(crops.labels)} training images make no batch of {batch_size}")
    x = keras.Input((PIXELS, PIXELS, 3), dtype="uint8")
    image = ki.preprocess_input(x)
    if image_size != PIXELS:
        image = keras.ops.image.resize(image, (image_size, image_size))
    model = ki.GoogLeNet(
        architecture=architectures.get(architecture, width),
        input_tensor=image,
        dropout=of.pop("dropout"),
        classes=len(images.class_names),
        class_names=images.class_names,
    )
    recipe = replace(recipes.get("quick"), name="cifar10", epochs=epochs, batch_size=batch_size, **of)
    ki.compile_model(model, optimizers.optimizer(recipe, len(crops)), label_smoothing=recipe.label_smoothing)
    history = model.fit(
        Batches(crops),
        validation_data=images.validation,
        validation_batch_size=next(n for n in (1000, 500, 1) if len(images.validation[1]) % n == 0),  # of one shape
        epochs=epochs,
        callbacks=[Clock()],
        verbose=2,
    ).history
    out.mkdir(parents=True, exist_ok=True)
    rows = enumerate(zip(*history.values()), start=1)
    files.write_table(out / "history.csv", [{"epoch": epoch, **dict(zip(history, logs))} for epoch, logs in rows])
    plots.curves(history, model.output_names).savefig(out / "curves.png", dpi=120)
    result = {
        "architecture": model.architecture.name,
        "dataset": folder.name,
        "backend": f"{backend}, {device or 'CPU'}",
        "precision": precision,
        "seed": seed,
        "epochs": len(history["loss"]),
        "part": "validation",
        "accuracy": {head: history[f"val_{head}_accuracy"][-1] for head in model.output_names},
        "sizes": {"train": len(images.train[1]), "validation": len(images.validation[1])},
        "validation": history["val_main_accuracy"],
        **spent(start),
    }
    files.write_json(out / "measured.json", result)
    return result


if __name__ == "__main__":
    main()
