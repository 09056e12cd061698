"""`keras-inception summary`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_inception import files
from keras_inception.cli.console import command, print_table
from keras_inception.errors import InputError

if TYPE_CHECKING:
    from keras_inception.network.cost import Printed
    from keras_inception.network.model import InceptionModel


def add(commands: Any) -> None:
    """Adds the command and its options to the parser."""
    parser = command(commands, "summary", run, "Print Table 1 as built, beside what the paper printed.")
    parser.add_argument("model", metavar="RUN", nargs="?", help="run folder or .keras file, in place of the options")
    parser.add_argument("--architecture", default="googlenet", metavar="NAME",
                        help="the network, such as googlenet_bn (default: %(default)s)")  # fmt: skip
    parser.add_argument("--width", type=float, default=1.0, metavar="X",
                        help="how many times as wide its trunk is (default: 1)")  # fmt: skip
    parser.add_argument("--classes", type=int, default=1000, metavar="N", help="number of classes (default: 1000)")
    parser.add_argument("--image-size", type=int, metavar="N",
                        help="height and width of the input in pixels (default: the architecture's)")  # fmt: skip
    parser.add_argument("--no-aux-heads", dest="aux_heads", action="store_false", help="without the auxiliary heads")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the graph into this file")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from keras_inception import plots
    from keras_inception.network.googlenet import GoogLeNet
    from keras_inception.training import runs

    if arguments.plot and Path(arguments.plot).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"--plot writes .png, .svg or .pdf. Received: {arguments.plot}")
    if arguments.model:
        model = runs.load_model(arguments.model, compiled=False)
    else:
        shape = (arguments.image_size, arguments.image_size, 3) if arguments.image_size is not None else None
        model = GoogLeNet(
            input_shape=shape,
            classes=arguments.classes,
            architecture=arguments.architecture,
            width=arguments.width,
            aux_heads=arguments.aux_heads,
        )
    _print_costs(model)
    if arguments.plot:
        with files.written_aside(arguments.plot) as aside:
            plots.graph(model).savefig(aside, dpi=120)
        print(f"drew {arguments.plot}")
    return 0


def _print_costs(model: "InceptionModel") -> None:
    from keras_inception import architectures
    from keras_inception.network import cost

    size = "x".join(str(side) for side in model.input_shape[1:])
    costs = cost.rows(model)
    rows = [
        [row.name, "x".join(map(str, row.output_shape)), f"{row.parameters:,}", f"{row.multiply_adds / 1e6:,.1f}M",
         *_printed(cost.PRINTED.get(row.name))]
        for row in costs
    ]  # fmt: skip
    heads = [name for name in model.output_names if name != "main"]
    inference = [row for row in costs if row.name not in heads]
    for title, part in (("at inference", inference), ("in training", costs)) if heads else (("in all", costs),):
        total = f"{sum(row.parameters for row in part):,}", f"{sum(row.multiply_adds for row in part) / 1e6:,.1f}M"
        rows.append([title, "", *total, "", "", ""])
    columns = ["row", "output", "parameters", "multiply-adds", "paper: parameters", "paper: ops", "why they differ"]
    print_table(f"{architectures.of(model).name}, Table 1 as built for {size}", columns, rows)
    print("The paper counts thousands of 1,024 and no biases, for 224x224x3 images and 1,000 classes.\n")
    modules = [(row.name, row.naive, row.multiply_adds) for row in costs if row.naive is not None]
    rows = [[name, f"{a / 1e6:,.1f}M", f"{b / 1e6:,.1f}M", f"{a / b:.2f}x"] for name, a, b in modules]
    columns = ["module", "naive multiply-adds", "with 1x1 reductions", "saved"]
    print_table("What the 1x1 reductions save against the naive module (the paper's Figure 2a)", columns, rows)


def _printed(printed: "Printed | None") -> list[str]:
    if printed is None:
        return ["", "", ""]
    return [f"{printed.parameters:g}K", f"{printed.operations:g}M", printed.note]
