"""`keras-inception study heads`."""

import argparse
import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from keras_inception.cli.console import CheckProgress, command, files_of, print_table
from keras_inception.cli.train import add_fields, add_groups, merged_config, options_of
from keras_inception.errors import counted

if TYPE_CHECKING:
    from keras_inception.study.results import StudyRun
    from keras_inception.training.config import TrainConfig

COMMON = ("dataset", "recipe", "epochs", "batch_size", "image_size")


def add(commands: Any) -> None:
    """Adds the command and its options to the parser."""
    summary = "Measure what a part of the network does."
    parser = commands.add_parser("study", help=summary, description=summary)
    studies = parser.add_subparsers(dest="study", required=True, metavar="STUDY")
    parser = command(
        studies,
        "heads",
        run,
        "Train the same network with no, each and all auxiliary heads, from the same weights on the same batches, and "
        "report what they change. The same command goes on after a kill.",
        usage="%(prog)s [OPTION ...]",
    )
    common = parser.add_argument_group("common options")
    add_fields(common, COMMON)
    option = common.add_argument
    option("--architecture", nargs="+", default=["googlenet", "googlenet_bn"], metavar="NAME",
           help="networks with the same auxiliary heads (default: googlenet googlenet_bn)")  # fmt: skip
    option("--seeds", type=int, default=3, metavar="N",
           help="trainings of each network and variant (default: %(default)s)")  # fmt: skip
    option = partial(option, default=argparse.SUPPRESS)
    option("--variants", nargs="+", metavar="NAME",
           help="which heads learn: none, the name of one, or both; falling is both with loss weights that fall to 0; "
                "differences are to none (default: all of these but falling)",
    )  # fmt: skip
    option("--initializers", nargs="+", metavar="NAME",
           help="compare what weights begin with: he, glorot, bvlc (Caffe's xavier, biases of 0.2), normal (of 0.01); "
                "each network is trained from each of them",
    )  # fmt: skip
    option("--out", metavar="FOLDER",
           help="where to write (default: studies/DATASET-heads); an unfinished study there goes on, also where only "
                "its trainings.jsonl is left",
    )  # fmt: skip
    option("--config", metavar="FILE", help="TOML, YAML or JSON file of training options; what is given here wins")
    add_groups(parser, without=(*COMMON, "architecture", "aux_heads", "gradient_flow", "patience", "max_minutes"))


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from keras_inception.cli.progress import TrainingProgress
    from keras_inception.study import findings
    from keras_inception.study.heads import heads
    from keras_inception.training.interruption import PreemptedError

    given = vars(arguments)
    options = options_of(arguments)
    networks = options.pop("architecture")
    config = merged_config(options, given.get("config"))
    try:
        with TrainingProgress(config.recipe.epochs) as progress:
            study = heads(
                config,
                given.get("out"),
                seeds=arguments.seeds,
                architectures=networks,
                initializers=given.get("initializers"),
                variants=given.get("variants"),
                callbacks=[progress],
                on_check=CheckProgress(),
                on_begin=partial(_say_begin, config),
                on_training=_say_training,
                report=lambda message: print(f"warning: {message}", file=sys.stderr),
            )
    except PreemptedError as error:
        raise PreemptedError("told to end (SIGTERM), and saved; the same command goes on") from error
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on") from interrupt
    print()
    for network in study.networks:
        print_table(network, *findings.summary(study, network))
    for network in study.networks:
        print_table(f"{network}: gradient norms", *findings.gradient_table(study, network))
        columns, rows = findings.gradient_table(study, network, "outputs")
        if rows:
            print_table(f"{network}: gradient norms at outputs (x the factor of the row's Jacobian)", columns, rows)
    print(findings.budget(study))
    print(f"wrote {study.folder}: {files_of(study.folder)}")
    print(f"next:  open {shlex.quote(str(study.folder / findings.PAGE))}")
    return 0


def _say_begin(config: "TrainConfig", missing: int, count: int) -> None:
    there = f", {count - missing} of them are done" if missing < count else ""
    print(f"{counted(count, 'training')} of {counted(config.recipe.epochs, 'epoch')}{there}", flush=True)


def _say_training(training: "StudyRun") -> None:
    print(
        f"{training.name}: accuracy {training.final_accuracy:.2%}, {training.cpu_seconds:,.0f} seconds of CPU time",
        flush=True,
    )
