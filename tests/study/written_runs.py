"""Run folders of a study as trainings would leave them, with numbers typed by hand."""

import json

from keras_inception import files
from keras_inception.training.config import TrainConfig, to_options

STEPS, CHANCE = 40, 0.693
# By variant: loss weights, the main head's test accuracy by seed, the number of steps at chance by seed.
VARIANTS = {
    "none": ((1.0, 0.0, 0.0), (0.50, 0.60, 0.70), (20, 22, 24)),
    "aux1": ((1.0, 0.3, 0.0), (0.60, 0.70, 0.80), (8, 12, STEPS)),
    "both": ((1.0, 0.3, 0.3), (0.53, 0.66, 0.70), (STEPS, STEPS, STEPS)),
}
NORMS = {
    "main": {"conv1_7x7_s2": 0.001, "inception_4a": 0.01, "inception_5b": 0.1, "linear": 1.0, "aux1": 0.0},
    "aux1": {"conv1_7x7_s2": 0.2, "inception_4a": 0.4, "inception_5b": 0.0, "linear": 0.0, "aux1": 3.0},
    "aux2": {"conv1_7x7_s2": 0.5, "inception_4a": 0.6, "inception_5b": 0.0, "linear": 0.0, "aux1": 0.0},
}


def config(**values):
    return TrainConfig.of(**{"dataset": "pictures", "epochs": 2, "batch_size": 8, **values})


def write_study(root, architectures=("googlenet", "googlenet_bn"), seeds=3, test_images=True):
    for architecture in architectures:
        for variant in VARIANTS:
            for seed in range(seeds):
                write_run(root / architecture / variant / f"seed-{seed}", architecture, variant, seed, test_images)


def write_run(folder, architecture, variant, seed, test_images=True, **options):
    weights, accuracies, at_chance = VARIANTS[variant]
    folder.mkdir(parents=True)
    its = config(architecture=architecture, seed=seed, loss_weights=weights, gradient_flow=1, image_size=96, **options)
    (folder / "config.json").write_text(json.dumps(to_options(its)))
    test = {"main": {"accuracy": accuracies[seed], "loss": 0.5}} if test_images else {}
    sizes = {"train": 160, "validation": 16, "test": 16 if test_images else 0}
    (folder / "results.json").write_text(json.dumps({"test": test, "best": None, "sizes": sizes, "skipped": []}))
    history = [{"epoch": epoch, "main_accuracy": 0.2 * epoch, "val_main_accuracy": 0.1 * epoch} for epoch in (1, 2)]
    files.write_table(folder / "history.csv", history)
    losses = [CHANCE] * at_chance[seed] + [0.1] * (STEPS - at_chance[seed])
    heads = {"aux1_loss": 1, "aux2_loss": 1}
    steps = [
        {"step": index + 1, "cpu_seconds": 0.5, "chance": CHANCE, "main_loss": loss, **heads}
        for index, loss in enumerate(losses)
    ]
    files.write_table(folder / "steps.csv", steps)
    gradients = [
        {"epoch": epoch, "head": head, "loss_weight": weight, "row": row, "gradient_norm": norm * (1 + seed),
         "output_gradient_norm": "" if row in ("linear", "aux1") else 10 * norm * (1 + seed)}
        for epoch in (0, 1, 2)
        for weight, (head, rows) in zip(weights, NORMS.items())
        for row, norm in rows.items()
    ]  # fmt: skip
    files.write_table(folder / "gradients.csv", gradients)
