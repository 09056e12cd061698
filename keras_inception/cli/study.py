"""`keras-inception study heads`."""

import argparse
import shlex
import sys
from functools import partial

from keras_inception.cli.console import PREEMPTED, Refused, command, print_table
from keras_inception.cli.train import add_fields, configuration


def add(commands):
    """Adds the command and its options to the parser."""
    parser = commands.add_parser("study", help="Measure what a part of the network does.")
    studies = parser.add_subparsers(dest="study", required=True, metavar="STUDY")
    parser = command(
        studies,
        "heads",
        run,
        "Train the same network with no, one and both auxiliary heads, from the same weights on the same batches, and "
        "report what they change. The same command goes on after a kill.",
    )
    option = parser.add_argument_group("the study").add_argument
    option("--seeds", type=int, default=3, metavar="N", help="trainings of each network and variant")
    option(
        "--architecture",
        nargs="+",
        default=["googlenet", "googlenet_bn"],
        metavar="ARCHITECTURE",
        help="networks with auxiliary heads; with a trunk of another width such as googlenet@0.25",
    )
    option(
        "--variants",
        nargs="+",
        default=["none", "aux1", "aux2", "both"],
        metavar="VARIANT",
        help="which heads learn: none, aux1, aux2, both; differences are to none",
    )
    option = partial(option, default=argparse.SUPPRESS)
    option("--out", metavar="FOLDER", help="where to write (studies/DATASET-heads); an unfinished study goes on there")
    option("--config", metavar="FILE", help="TOML, YAML or JSON file of the options below; options given here win")
    add_fields(parser, without=("architecture", "aux_heads", "gradient_flow"))


def run(arguments):
    """Runs the command; returns its exit code."""
    from keras_inception.study import findings
    from keras_inception.study.heads import heads
    from keras_inception.training.diagnosis import NotFiniteError
    from keras_inception.training.loop import PreemptedError

    options = {k: v for k, v in vars(arguments).items() if k not in ("command", "study", "run")}
    of_study = {name: options.pop(name, None) for name in ("out", "seeds", "architecture", "variants")}
    config = configuration(options)
    try:
        study = heads(
            config,
            of_study["out"],
            seeds=of_study["seeds"],
            architectures=of_study["architecture"],
            variants=of_study["variants"],
            on_begin=partial(_say_begin, config),
            on_training=_say_training,
            report=lambda message: print(f"warning: {message}", file=sys.stderr),
        )
    except PreemptedError:
        print("keras-inception study: told to end (SIGTERM), and saved; the same command goes on", file=sys.stderr)
        return PREEMPTED
    except NotFiniteError as error:
        raise Refused(error) from error
    print()
    for architecture in study.architectures:
        print_table(architecture, *findings.summary(study, architecture))
    for architecture in study.architectures:
        print_table(f"{architecture}: gradient norms", *findings.gradient_table(study, architecture))
    print(findings.budget(study))
    for architecture in study.architectures:
        for sentence in findings.sentences(study, architecture):
            print(f"{architecture}, {sentence}")
    print(f"wrote {study.folder}: {', '.join(sorted(path.name for path in study.folder.iterdir()))}")
    print(f"next:  open {shlex.quote(str(study.folder / findings.PAGE))}")
    return 0


def _say_begin(config, missing, count):
    there = f", {count - missing} of them are there" if missing < count else ""
    print(f"{count} trainings of {config.epochs} epochs{there}", flush=True)


def _say_training(training):
    step = training.left_at(training.chance)
    left = f"left chance at step {step}" if step else "did not leave chance"
    print(
        f"{training.name}: accuracy {training.final_accuracy:.2%}, {left}, "
        f"{training.processor_seconds:,.0f} processor seconds",
        flush=True,
    )
