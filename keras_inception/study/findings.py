"""What a study found: as tables, and as the files of its folder."""

import statistics
from collections.abc import Sequence

from keras_inception import files
from keras_inception.errors import counted
from keras_inception.network.blocks import MAIN
from keras_inception.plots.study import PLOTS, label
from keras_inception.study.results import WINDOW, Difference, Study
from keras_inception.training.diagnosis import AT_CHANCE

TABLE, PAGE = "study.csv", "study.md"


def write(study: Study) -> None:
    """Writes the tables, the plots and the page of a study into its folder."""
    rows = [
        {
            "network": run.network,
            "variant": run.variant,
            "seed": run.seed,
            "epochs": len(run.validation_accuracy),
            "steps": run.steps,
            "training_accuracy": run.training_accuracy[-1] if run.training_accuracy else None,
            "validation_accuracy": run.validation_accuracy[-1],
            "test_accuracy": run.test_accuracy,
            "left_chance_at_step": run.left_chance_at_step,
            "cpu_seconds": round(run.cpu_seconds, 1),
        }
        for run in study.trainings
    ]
    files.write_table(study.folder / TABLE, rows)
    for name, draw in PLOTS.items():
        with files.written_aside(study.folder / name) as aside:
            draw(study).savefig(aside, dpi=120)
    with files.written_aside(study.folder / PAGE) as aside:
        aside.write_text(_page(study), encoding="utf-8")


def summary(study: Study, network: str) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Returns the columns of the summary of a network, and its rows as texts.

    Args:
        study: A finished study.
        network: The name of one of its networks.
    """
    columns = ("heads that learn", f"{study.images} accuracy", "difference to none", "main left chance at step")
    rows = []
    for variant in study.variants:
        accuracies = study.accuracies(network, variant)
        spread = f" ± {100 * statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
        left = ("never" if step is None else str(step) for step in study.left(network, variant))
        gain = _told(study.gain(network, variant))
        rows.append((variant, f"{statistics.fmean(accuracies):.2%}{spread}", gain, ", ".join(left)))
    return columns, rows


def gradient_table(study: Study, network: str, at: str = "weights") -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Returns the columns of the gradients of a network at the start and at the end, and its rows as texts.

    Args:
        study: A finished study.
        network: The name of one of its networks.
        at: As in `Study.norms`: with "outputs" each norm is followed by the factor of the row's Jacobian.
    """
    found = {
        f"{head} {stage}": norms
        for stage, epoch in study.stages.items()
        if stage != "in the middle"  # it is in the plot
        for head, norms in study.norms(network, study.richest, epoch, at).items()
    }
    rows: list[str] = next((list(norms) for column, norms in found.items() if column.startswith(MAIN)), [])
    # 0 exactly: the row is behind the head's tap.
    texts = {row: [f"{norms[row]:.1e}" if norms[row] else "0" for norms in found.values()] for row in rows}
    if at == "outputs":
        for row, before in zip(rows[1:], rows):
            factors = [norms[before] / norms[row] if norms[row] else 0 for norms in found.values()]
            texts[row] = [f"{text} (x {factor:.2g})" if factor else text for text, factor in zip(texts[row], factors)]
    return ["row", *found], [(row, *cells) for row, cells in texts.items()]


def budget(study: Study) -> str:
    """Returns what the study was spent on, as one line."""
    first, seconds = study.trainings[0], sum(training.cpu_seconds for training in study.trainings)
    splits = ", ".join(f"{count:,} {split}" for split, count in first.sizes.items() if count)
    trainings, epochs = counted(len(study.trainings), "training"), counted(len(first.validation_accuracy), "epoch")
    return (
        f"{trainings} ({len(study.networks)} x {len(study.variants)} x {len(study.seeds)} "
        f"networks, variants and seeds) of {epochs}, {counted(first.steps, 'step')} of "
        f"{study.config.recipe.batch_size} images; {splits} images; {seconds:,.0f} seconds of CPU time"
    )


def _told(gain: Difference | None) -> str:
    if gain is None:
        return "-"
    text = f"{100 * gain.mean:+.2f} points"
    if gain.low is None or gain.high is None:
        return f"{text} (one seed: no interval)"
    verdict = {1: "a gain", 0: "no difference is shown", -1: "a loss"}[gain.sign]
    return f"{text} ({100 * gain.low:+.2f} to {100 * gain.high:+.2f}): {verdict}"


def _page(study: Study) -> str:
    seeds = ", ".join(map(str, study.seeds))
    parts = [
        f"# What the auxiliary heads do: {study.config.dataset}",
        f"{budget(study)}. Recipe `{study.config.recipe.name}`, seeds {seeds}, precision {study.config.precision}. "
        f"Trained on {'; '.join(dict.fromkeys(run.machine for run in study.trainings))}.",
        "Every training has all heads. One that does not learn has a loss weight of 0: nothing comes from it, and the "
        "trainings of a seed begin with the same weights, see the same batches and draw the same dropout. The time of "
        "`none` includes its idle heads.",
        f"Accuracies are the main head's at the end, on the {study.images} images, with their standard deviation over "
        "the seeds. Differences are paired by seed, with Student's 95% interval: where it holds 0, no difference is "
        f"shown. The main head has left chance at the first step from which on the mean loss of {WINDOW} steps stays "
        f"below {AT_CHANCE:.0%} of {study.chance:.4f}, the loss of the best constant answer (ln(classes) where classes "
        "are even).",
    ]
    for network in study.networks:
        parts += [
            f"## {network}",
            _markdown(*summary(study, network)),
            "The norm of the gradient that reaches each row from each head's loss, times the weight of that loss, with "
            f"{label(study.richest)} (geometric mean over the seeds, one batch of validation images):",
            _markdown(*gradient_table(study, network)),
        ]
        columns, rows = gradient_table(study, network, "outputs")
        if rows:
            parts += [
                "The same at the output of each row, and in brackets the factor of the row's Jacobian: what it "
                "multiplies that norm by on the way to the row before it.",
                _markdown(columns, rows),
            ]
    parts.append("\n".join(f"![{name.removesuffix('.png')}]({name})" for name in PLOTS))
    return "\n\n".join(parts) + "\n"


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
