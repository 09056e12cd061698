"""`keras-inception evaluate` with crops, ensembles and a report."""

import csv
import json
import shutil

import keras
import pytest
from PIL import Image

pytest.importorskip("tensorflow")

from tiny_network import TINY

import keras_inception as ki
from keras_inception import evaluation
from keras_inception.cli import main
from keras_inception.data import duplicates
from keras_inception.files import write_json
from keras_inception.training import runs
from keras_inception.training.config import TrainConfig, to_options

HEADS = ["main", "aux1", "aux2"]
PLOTS = {"depth.png", "confusion.png", "reliability.png", "mistakes.png"}
TABLES = {"results.json", "per_class.csv", "confusion.csv", "report.html"}


@pytest.fixture(scope="module")
def two_runs(image_folder, tmp_path_factory):
    """The folders of two runs with random weights, on images of 10 and 12 pixels."""
    folders = []
    for seed, size in ((1, 10), (2, 12)):
        keras.utils.set_random_seed(seed)
        model = ki.GoogLeNet(architecture=TINY, input_shape=(size, size, 3), classes=2, class_names=["dark", "light"])
        folders.append(write_run(model, tmp_path_factory.mktemp(f"run{seed}"), image_folder))
    return folders


def write_run(model, folder, dataset):
    runs.save_model(model, folder)
    write_json(folder / runs.CONFIG, to_options(TrainConfig.of(dataset=str(dataset), architecture=TINY)))
    return folder


def evaluate(*arguments):
    return main(["evaluate", *map(str, arguments)])


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_network_that_was_trained_on_the_images_is_named(two_runs, image_folder, tmp_path, capsys):
    copies = [shutil.copytree(run, tmp_path / str(seed)) for seed, run in enumerate(two_runs)]
    records = [ki.data.load(str(image_folder), architecture=TINY, seed=seed).record for seed in (0, 1)]
    for of_second in records:
        for copy, record in zip(copies, (records[0], of_second)):
            write_json(copy / runs.DATA, record)
        assert evaluate(*copies, "--crops", "1", "--json") == 0
        told = capsys.readouterr().err
        assert (f"warning: {copies[1]} was trained on some of these images" in told) == (of_second is not records[0])
        assert f"{copies[0]} was trained" not in told


def test_splits_of_a_dataset_that_another_seed_drew_were_trained_on():
    digits = [
        ki.data.load("digits", image_size=32, architecture="googlenet_small", seed=seed, split_seed=of_splits).record
        for seed, of_splits in ((0, None), (1, None), (1, 0))
    ]
    assert duplicates.trained_on(digits[1], digits[0], "validation")
    assert not duplicates.trained_on(digits[1], digits[0], "test")  # the dataset's own
    assert not duplicates.trained_on(digits[0], digits[0], "validation")
    assert not duplicates.trained_on(digits[2], digits[0], "validation")


@pytest.mark.slow
def test_an_ensemble_of_two_runs_is_scored_on_the_crops_of_the_test_images(two_runs, image_folder, capsys):
    assert evaluate(*two_runs, "--crops", "10", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    models = [runs.load_model(folder) for folder in two_runs]
    originals = ki.data.load(str(image_folder), architecture=TINY).originals("test")
    assert found == evaluation.evaluate(models, originals, crops=10)


def test_out_writes_one_report_with_its_tables_and_plots(two_runs, image_folder, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    model = runs.load_model(two_runs[0])
    model.set_weights([0 * weights for weights in model.get_weights()])  # all images are as likely dark as light
    run, out = write_run(model, tmp_path / "run", image_folder), tmp_path / "report"
    assert evaluate(run, "--crops", "1", "--split", "train", "--out", out) == 0
    printed = capsys.readouterr().out
    assert "32 train images" in printed
    assert "too few" not in printed
    assert f"wrote {out}: results.json, " in printed
    assert names(out) == PLOTS | TABLES
    results = json.loads((out / "results.json").read_text())
    assert (results["images"], results["crops"], list(results["heads"])) == (32, 1, HEADS)
    with open(out / "confusion.csv", newline="") as file:
        assert list(csv.reader(file))[1:] == [["dark", "16", "0"], ["light", "16", "0"]]
    assert results["heads"]["main"]["accuracy"] == 0.5
    with open(out / "per_class.csv", newline="") as file:
        assert [(row["class"], row["images"]) for row in csv.DictReader(file)] == [("dark", "16"), ("light", "16")]
    for name in PLOTS:
        with Image.open(out / name) as plot:
            assert min(plot.size) > 200
    # Another one takes its place, here of the test images without crops.
    assert evaluate(run, "--out", out, "--top", "1", "--json", "--suspicious") == 0
    assert names(out) == PLOTS | TABLES | {"suspicious_labels.png"}
    assert "Of 32 training images those of which main is most confident" in (out / "report.html").read_text()
    assert set(json.loads(capsys.readouterr().out)["aux2"]) == {"loss", "accuracy"}
    assert json.loads((out / "results.json").read_text())["images"] == 4


def test_top_are_the_columns_that_were_asked_for(two_runs, capsys):
    assert evaluate(two_runs[0], "--top", "2", "1") == 0
    printed = capsys.readouterr().out
    assert "top-1" in printed
    assert "top-2" in printed
    assert "top-5" not in printed


@pytest.mark.slow
def test_what_cannot_be_evaluated_is_refused_in_one_line(two_runs, tmp_path, image_folder, refused):
    run = two_runs[0]
    assert "invalid choice: 12 (choose from 1, 10, 144)" in refused("evaluate", run, "--crops", "12")
    assert "networks of different inputs need --crops" in refused("evaluate", *two_runs)
    message = refused("evaluate", run, "--split", "train", "--out", tmp_path / "new")
    assert "a report of them needs --crops" in message
    assert "which holds something else" in refused("evaluate", run, "--out", image_folder)
    assert "`top` must hold numbers of answers, each of at least 1" in refused("evaluate", run, "--top", "0")
    other = ki.GoogLeNet(architecture=TINY, input_shape=(10, 10, 3), classes=2, class_names=["light", "dark"])
    runs.save_model(other, tmp_path)
    message = refused("evaluate", run, tmp_path / "model.keras", "--crops", "1")
    assert "must have the same classes in the same order" in message
    assert names(tmp_path) == {"model.keras"}


def test_evaluate_prints_the_results_of_the_run(run, capsys):
    assert evaluate(run.folder, "--json") == 0
    results = json.loads(capsys.readouterr().out)
    for head, metrics in run.results.items():
        assert results[head] == pytest.approx(metrics, abs=1e-5)
    assert evaluate(run.folder, "--split", "validation") == 0
    table = capsys.readouterr().out
    assert "4 validation images: the run's own split" in table
    assert all(word in table for word in ("head", "top-1", "loss", "main", "aux1", "aux2"))
    assert "too few images to tell: 4 in all, 2 of dark (at least 30, and 10 of each class)" in table


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": ["light", "dark"]}, "images of 2 classes, of which number 0 is dark instead of light"),
        ({"classes": 3, "class_names": ["dark", "light", "red"]}, "of which number 2 is missing instead of red"),
        ({"classes": 3}, "must have the 3 classes that the model was trained on, in their order"),
        ({"input_shape": (10, 10, 1)}, "squares of 3 channels"),
        ({"input_shape": (10, 14, 3)}, "squares of 3 channels"),
        ({"include_top": False, "pooling": "avg"}, "Outputs must be softmaxes or logits"),
        ({"classifier_activation": "sigmoid"}, "Received: output 'main' with activation=sigmoid"),
    ],
)
def test_networks_that_do_not_fit_the_images_are_refused(options, message, image_folder, tmp_path, refused):
    path = tmp_path / "model.keras"
    ki.GoogLeNet(architecture=TINY, **{"input_shape": (10, 10, 3), "classes": 2, **options}).save(path)
    assert message in refused("evaluate", path, "--dataset", image_folder)


def test_weights_that_are_not_numbers_are_refused(image_folder, tmp_path, refused):
    path = tmp_path / "model.keras"
    model = ki.GoogLeNet(architecture=TINY, input_shape=(10, 10, 3), classes=2)
    model.set_weights([weight * float("nan") for weight in model.get_weights()])
    model.save(path)
    for options in ([], ["--crops", "1"], [path], ["--out", tmp_path / "report"]):
        assert "weights must be finite" in refused("evaluate", path, *options, "--dataset", image_folder)
    assert names(tmp_path) == {"model.keras"}


def test_evaluate_of_a_file_needs_a_dataset(run, image_folder, refused):
    assert "give --dataset" in refused("evaluate", run.folder / "model.keras")
    assert evaluate(run.folder / "model.keras", "--dataset", image_folder, "--split", "train") == 0


@pytest.mark.parametrize("weights", ["gone", "gone.keras", "gone/imagenet.npy"])
def test_a_run_is_evaluated_when_what_its_weights_began_with_is_gone(weights, run, tmp_path, capsys):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"weights": weights}))
    assert main(["evaluate", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["main"] == pytest.approx(run.results["main"], abs=1e-5)


def test_the_table_says_what_each_head_costs_over_all_crops_and_networks(run, capsys):
    model = runs.load_model(run.folder)
    heads = {"main": ["main"], "aux1": ["aux1"], "average": HEADS}
    assert evaluate(run.folder, run.folder, "--crops", "10") == 0
    lines = capsys.readouterr().out.splitlines()
    for name, computed in heads.items():
        (line,) = [line for line in lines if name in line.split()[:2]]
        assert f"{20 * evaluation.multiply_adds([model], computed) / 1e6:,.1f}M" in line
    assert evaluation.multiply_adds([model], HEADS) > evaluation.multiply_adds([model], ["main"])
