"""Searches for a training with KerasTuner, in Python; `keras-inception tune` does more of it in one command.

python examples/search.py --trials 10 --epochs 5
"""

import argparse

import keras_tuner

import keras_inception as ki


def main() -> None:
    parser = argparse.ArgumentParser(description="Search with KerasTuner on handwritten digits or a folder.")
    parser.add_argument("--dataset", default="digits", help="digits, a folder, or the name of a TFDS dataset")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--out", metavar="FOLDER", default="searches/example", help="where KerasTuner keeps its trials")
    arguments = parser.parse_args()

    data = ki.data.load(arguments.dataset, architecture="googlenet_bn")
    space = {
        "width": [0.25, 0.5],
        "learning_rate": (3e-4, 1e-2),
        "aux1_weight": True,  # the default range: 0 to 0.6
        "aux2_weight": True,
    }
    hypermodel = ki.GoogLeNetHyperModel(
        data.image_shape,
        classes=len(data.class_names),
        space=space,
        config=ki.TrainConfig.of(architecture="googlenet_bn"),
        class_names=data.class_names,
    )
    tuner = keras_tuner.RandomSearch(
        hypermodel, ki.OBJECTIVE, max_trials=arguments.trials, seed=0, directory=arguments.out, project_name="search"
    )
    tuner.search(data.train, validation_data=data.validation, epochs=arguments.epochs)
    tuner.results_summary(num_trials=3)
    print("best:", tuner.get_best_hyperparameters()[0].values)


if __name__ == "__main__":
    main()
