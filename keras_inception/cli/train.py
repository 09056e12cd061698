"""`keras-inception train`."""

import argparse
import dataclasses
import shlex
import sys
from functools import partial

from keras_inception.architectures import ARCHITECTURES
from keras_inception.cli.console import Refused, command


def add(commands):
    """Adds the command and its options to the parser."""
    parser = command(commands, "train", run, "Train a network on images and write a run folder.")
    # No default stands here: those of `TrainConfig` hold, or those of `--config`.
    option = partial(parser.add_argument, default=argparse.SUPPRESS)
    option("--dataset", metavar="NAME|FOLDER", help="digits, a folder of class folders, or a TFDS dataset (digits)")
    option("--architecture", choices=list(ARCHITECTURES), help="the network (googlenet)")
    option("--no-aux-heads", dest="aux_heads", action="store_false", help="train without the auxiliary heads")
    option("--image-size", type=int, metavar="PIXELS", help="height and width of the input (chosen from the images)")
    option("--epochs", type=int, help="passes over the training images (12)")
    option("--batch-size", type=int, help="images per step (32)")
    option("--learning-rate", type=float, help="highest rate of Adam, after the warm-up (0.0005)")
    option("--dropout", type=float, metavar="RATE", help="dropout of the main head (the paper's 0.4)")
    option("--aux-dropout", type=float, metavar="RATE", help="dropout of the auxiliary heads (the paper's 0.7)")
    option("--weights", metavar="imagenet|FILE", help="start from published weights: downloaded, or a file")
    option("--freeze-through", metavar="ROW", help="rows up to this one do not learn, such as inception_4e")
    option(
        "--strategy",
        choices=["auto", "one", "mirrored", "multi-worker"],
        help="devices: one, all of this machine, or the workers that TF_CONFIG or Slurm names (auto)",
    )
    option("--seed", type=int, help="decides weights, dropout, order and splits (0)")
    option("--validation-fraction", type=float, metavar="SHARE", help="for validation, where the source has none (0.1)")
    option("--test-fraction", type=float, metavar="SHARE", help="for testing, where the source has none (0.1)")
    option("--skip-bad-images", action="store_true", help="leave out unreadable files of a folder, and count them")
    option("--tensorboard", action="store_true", help="write TensorBoard logs into the run folder")
    option("--gradient-flow", type=int, metavar="EPOCHS", help="write gradients.csv every so many epochs (never)")
    option("--config", metavar="FILE", help="config.json of a run; options given beside it win")
    option("--out", metavar="RUN", help="the run's folder (runs/DATASET-ARCHITECTURE)")
    option("--overwrite", action="store_true", help="replace the run in that folder")


def run(arguments):
    """Runs the command; returns its exit code."""
    from keras_inception.diagnosis import NotFiniteError
    from keras_inception.distribute import WorkerLostError
    from keras_inception.training import TrainConfig, train

    options = {k: v for k, v in vars(arguments).items() if k not in ("command", "run")}
    out, overwrite = options.pop("out", None), options.pop("overwrite", False)
    config = options.pop("config", None)
    config = dataclasses.replace(TrainConfig.from_file(config) if config else TrainConfig(), **options)
    try:
        finished = train(
            config,
            out,
            overwrite=overwrite,
            on_data=lambda dataset: _say_data(config, dataset),
            report=lambda message: print(f"\nwarning: {message}", file=sys.stderr),
        )
    except (NotFiniteError, WorkerLostError) as error:
        raise Refused(error) from error
    if not finished.chief:
        return 0
    if finished.results:
        accuracies = ", ".join(f"{head} {metrics['accuracy']:.2%}" for head, metrics in finished.results.items())
        print(f"\ntest accuracy: {accuracies} ({finished.sizes['test']} images)")
    else:
        print("\nno test accuracy: there are no test images (`--test-fraction`, or a folder called test)")
    folder = shlex.quote(str(finished.folder))
    print(f"wrote {finished.folder}: {', '.join(sorted(path.name for path in finished.folder.iterdir()))}")
    print(f"next:  keras-inception predict {folder} {shlex.quote(str(finished.folder / 'samples'))}")
    return 0


def _say_data(config, dataset):
    sizes = ", ".join(f"{dataset.sizes.get(split, 0):,} {name}" for split, name in
                      (("train", "training"), ("validation", "validation"), ("test", "test")))  # fmt: skip
    print(f"{config.dataset}: {sizes} images of {len(dataset.class_names)} classes")
    size, side = dataset.image_shape[0], dataset.original_side
    if side < size:
        print(f"images of {side} pixels are scaled up to {size}x{size}, a size that {config.architecture} takes")
    else:
        print(f"images are scaled to {size}x{size} for {config.architecture}")
    if dataset.skipped:
        print(f"left out {len(dataset.skipped)} unreadable files: {', '.join(dataset.skipped[:5])}")
