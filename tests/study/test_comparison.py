"""When a head has left chance, how seeds are paired, and what the report says of trainings whose numbers are known."""

import dataclasses
import math
import shutil
import sys
import types

import numpy as np
import pytest
from PIL import Image
from tiny_network import TINY
from written_runs import config, write_run, write_study

from keras_inception import files, study
from keras_inception.architectures import GOOGLENET, AuxiliaryHead
from keras_inception.cli import main
from keras_inception.errors import InputError
from keras_inception.study.heads import variants_of
from keras_inception.study.results import moving_average
from keras_inception.training.config import to_options

THREE = ("none", "aux1", "both")


def finished(folder, **options):
    return study.heads(config(), folder, variants=THREE, **{"seeds": 3, **options})


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The study of run folders that were written by hand; none of them is trained again."""
    folder = tmp_path_factory.mktemp("studies") / "study"
    write_study(folder)
    return finished(folder)


def test_the_variants_are_made_of_the_heads_of_the_architecture():
    assert list(variants_of(GOOGLENET)) == ["none", "aux1", "aux2", "both"]
    third = AuxiliaryHead("aux3", "inception_5a", "loss4")
    three = dataclasses.replace(GOOGLENET, auxiliary_heads=(*GOOGLENET.auxiliary_heads, third))
    assert variants_of(three) == {
        "none": (),
        "aux1": ("aux1",),
        "aux2": ("aux2",),
        "aux3": ("aux3",),
        "all": ("aux1", "aux2", "aux3"),
    }
    assert list(variants_of(dataclasses.replace(GOOGLENET, auxiliary_heads=(third,)))) == ["none", "aux3"]


def test_a_head_has_left_chance_when_the_mean_of_ten_steps_stays_below_95_percent():
    chance = 2.0
    assert study.left_at([2.0] * 30, chance) is None
    assert study.left_at([1.0] * 30, chance) == 1
    # After step 21 the mean of ten is (9 * 2.0 + 1.0) / 10 = 1.9, which is 95%; after step 22 it is 1.8.
    assert study.left_at([2.0] * 20 + [1.0] * 30, chance) == 22
    # Back at chance, and away again: the first time does not count.
    assert study.left_at([1.0] * 20 + [2.0] * 20 + [1.0] * 20, chance) == 42
    assert study.left_at([1.0] * 20 + [2.0] * 20, chance) is None
    assert study.left_at([1.0] * 20 + [math.nan] * 20, chance) is None


def test_the_moving_average_begins_with_the_steps_that_there_are():
    np.testing.assert_allclose(moving_average([4.0, 2.0, 0.0]), [4.0, 3.0, 2.0])
    np.testing.assert_allclose(moving_average(np.arange(12.0))[-2:], [5.5, 6.5])  # 1..10 and 2..11


def test_the_paired_interval_is_student_s():
    # Differences 1, 2, 3, 6: mean 3, standard deviation sqrt(14 / 3) = 2.16025, standard error 1.08012; the 97.5%
    # quantile of Student's t with 3 degrees of freedom is 3.18245 (any table): 3.43745 to either side.
    difference = study.paired([11, 22, 33, 46], [10, 20, 30, 40])
    assert (difference.mean, difference.sign) == (3, 0)
    assert (difference.low, difference.high) == pytest.approx((-0.43745, 6.43745), abs=1e-4)
    # Differences 1, 2, 3: standard error 1 / sqrt(3) = 0.57735, quantile 4.30265.
    difference = study.paired([11, 22, 33], [10, 20, 30])
    assert (difference.low, difference.high) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)


def test_the_sign_of_a_difference_needs_an_interval_on_one_side_of_zero():
    assert study.paired([3, 5, 4], [1, 3, 2]).sign == 1  # all 2: no spread
    assert study.paired([1, 3.1, 2], [3, 5, 4]).sign == -1
    alone = study.paired([3], [1])
    assert (alone.mean, alone.low, alone.high, alone.sign) == (2, None, None, 0)


def test_the_study_compares_final_accuracies_and_steps_seed_by_seed(found):
    assert found.accuracies("googlenet_bn", "none") == [0.5, 0.6, 0.7]
    assert found.gain("googlenet_bn", "none") is None
    # ln 2 falls below 95% of it in the mean of ten with the first step of 0.1: by 8.6% in the first of them.
    assert found.left("googlenet_bn", "none") == [21, 23, 25]
    assert found.left("googlenet_bn", "aux1") == [9, 13, None]
    gain = found.gain("googlenet_bn", "aux1")
    assert (gain.mean, gain.low, gain.sign) == (pytest.approx(0.1), pytest.approx(0.1), 1)
    gain = found.gain("googlenet_bn", "both")
    assert (gain.mean, gain.sign) == (pytest.approx(0.03), 0)  # of 0.03, 0.06 and 0


def test_study_csv_has_a_row_for_each_training(found):
    rows = files.read_table(found.folder / "study.csv")
    assert len(rows) == 18
    assert rows[4] == {
        "network": "googlenet", "variant": "aux1", "seed": "1", "epochs": "2", "steps": "40",
        "training_accuracy": "0.4", "validation_accuracy": "0.2", "test_accuracy": "0.7",
        "left_chance_at_step": "13", "cpu_seconds": "20.0",
    }  # fmt: skip
    assert rows[8]["left_chance_at_step"] == ""


def test_gradient_norms_are_geometric_means_of_the_heads_that_learn(found):
    assert found.stages == {"at the start": 0, "in the middle": 1, "at the end": 2}
    by_head = found.norms("googlenet", "aux1", 2)  # times the weight of the head's loss
    assert list(by_head) == ["main", "aux1"]  # aux2 does not learn
    assert list(by_head["main"]) == ["conv1_7x7_s2", "inception_4a", "inception_5b", "linear"]
    mean = (1 * 2 * 3) ** (1 / 3)
    assert by_head["aux1"]["inception_4a"] == pytest.approx(0.3 * 0.4 * mean)
    assert by_head["aux1"]["inception_5b"] == 0
    outputs = found.norms("googlenet", "aux1", 2, "outputs")["main"]
    assert list(outputs) == ["conv1_7x7_s2", "inception_4a", "inception_5b"]
    assert outputs["inception_4a"] == pytest.approx(10 * 0.01 * mean)


def test_differences_are_paired_after_each_epoch(found):
    assert found.gains_by_epoch("googlenet", "none") == []
    gains = found.gains_by_epoch("googlenet", "both")
    assert [(gain.mean, gain.low) for gain in gains] == [(0, 0), (0, 0)]  # all learn 0.1, and 0.2, in validation


def test_the_page_says_what_was_found_also_where_heads_do_not_help(found):
    page = (found.folder / "study.md").read_text()
    assert "18 trainings (2 x 3 x 3 networks, variants and seeds) of 2 epochs, 40 steps of 8 images" in page
    assert "160 train, 16 validation, 16 test images; 360 seconds of CPU time" in page
    assert "| aux1 | 70.00% ± 10.00 | +10.00 points (+10.00 to +10.00): a gain | 9, 13, never |" in page
    assert "+3.00 points (-4.45 to +10.45): no difference is shown |" in page
    assert "stays below 95% of 0.6930" in page
    # Of 0.1 at 4a and 0.01 at conv1, 10 times what the weights have, times the geometric mean of the seeds' 1, 2 and 3.
    assert "| inception_4a | 1.8e-01 (x 0.1) |" in page


def test_the_plots_open(found):
    for name in ("accuracy", "leaving", "final", "gradients", "gradients-by-epoch", "jacobians"):
        with Image.open(found.folder / f"{name}.png") as plot:
            plot.load()
            assert min(plot.size) > 400


def test_one_seed_without_test_images_is_reported_as_it_is(tmp_path):
    write_study(tmp_path, ("googlenet",), seeds=1, test_images=False)
    found = finished(tmp_path, seeds=1, architectures=("googlenet",))
    assert found.images == "validation"
    assert found.accuracies("googlenet", "both") == [0.2]
    assert files.read_table(tmp_path / "study.csv")[0]["test_accuracy"] == ""
    assert "| aux1 | 20.00% | +0.00 points (one seed: no interval) |" in (tmp_path / "study.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, r"`seeds` must be a whole number of at least 1\. Received: seeds=0"),
        ({"variants": ("none", "aux3")}, r"`variants` must be among none, aux1, aux2, both, .*'aux3'"),
        ({"variants": ("none", "none")}, r"`variants` must be among .*, at least one and each once"),
        ({"architectures": ()}, r"`architectures` must hold at least one network, and each once"),
        ({"architectures": ("googlenet", "googlenet")}, r"`architectures` must hold at least one network, and each"),
        (
            {"architectures": ("inception_v1_slim",)},
            r"needs networks with the same auxiliary heads\. .*inception_v1_slim: main$",
        ),
        (
            {"architectures": ("googlenet", dataclasses.replace(TINY, auxiliary_heads=TINY.auxiliary_heads[:1]))},
            r"the same auxiliary heads\. Received: googlenet: main, aux1, aux2; tiny: main, aux1$",
        ),
        (
            {"architectures": "googlenet"},
            r"`architectures` must be a list of names\. Received: architectures='googlenet'",
        ),
        ({"architectures": None}, r"`architectures` must be a list of names\. Received: architectures=None"),
        ({"variants": [["none"]]}, r"`variants` must be among .*Received: variants=\[\['none'\]\]"),
        ({"seeds": 10**12}, r"`seed` must be .*Received: seed=999999999999"),
        ({"variants": "none"}, r"`variants` must be a list of names\. Received: variants='none'"),
        ({"initializers": "glorot"}, r"`initializers` must be a list of names\. Received: initializers='glorot'"),
        (
            {"initializers": ["glorot", "xavier"]},
            r"`initializers` must be among he, glorot, bvlc, normal, at least one and each once\. Received: .*'xavier'",
        ),
        ({"initializers": {"own": "zeros"}}, r"must be pairs of a `kernel_initializer` and .*Received: own='zeros'"),
        ({"initializers": {"a/b": (None, None)}}, r"`initializers` must be a name of letters.*Received: .*'a/b'"),
        ({"initializers": {"own": ("glorot", None)}}, r"`kernel_initializer` must be the name.*Did you mean glorot_"),
        (
            {"initializers": ["glorot"], "config": {"kernel_initializer": "he_normal"}},
            r"leave out one of them\. Received: \('he_normal', None\)",
        ),
        (
            {"variants": ["none", "falling"], "config": {"aux_loss_schedule": "cosine"}},
            r'"falling" is compared with weights that stay: .*Received: aux_loss_schedule=\'cosine\'',
        ),
        ({"config": {"seed": 2**32 - 2}}, r"`seed` must be .*Received: seed=4294967296"),
        ({"architectures": ("lenet",)}, r"`architecture` must be an `Architecture` or one of googlenet, .*'lenet'"),
        ({"config": {"aux_heads": False}}, r"leave out `aux_heads=False`"),
        (
            {"config": {"loss_weights": (1.0, 0.3, 0.0)}},
            r"`loss_weights` must give each head a weight above 0",
        ),
        ({"config": {"patience": 2}}, r"trainings of the same length: .*Received: patience=2, max_minutes=None"),
        ({"config": {"max_minutes": 9}}, r"the same length: .*Received: patience=None, max_minutes=9"),
        ({"config": {"strategy": "multi-worker"}}, r"trains on one machine: .*Received: 'multi-worker'"),
    ],
)
def test_what_no_study_can_be_made_of_is_refused(options, message, tmp_path):
    options = dict(options)
    values = options.pop("config", {})
    with pytest.raises(InputError, match=message):
        study.heads(config(**values), tmp_path / "study", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_study_is_refused_with_the_difference(tmp_path):
    write_run(tmp_path / "googlenet" / "both" / "seed-1", "googlenet", "both", 1)
    with pytest.raises(
        ValueError, match=r"holds another study: epochs was 2 and is 5, batch_size was 8 and is 16\. Go"
    ):
        study.heads(config(epochs=5, batch_size=16), tmp_path)
    with pytest.raises(InputError, match=r"holds another study: image_size was 96 and is 128\. Go on"):
        study.heads(config(image_size=128), tmp_path)


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="needs an empty folder, and this one holds something else"):
        study.heads(config(), tmp_path)
    with pytest.raises(InputError, match="needs a folder of its own, and this is a file"):
        study.heads(config(), tmp_path / "thesis.txt")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "steps.csv",
            lambda text: text[:-60],
            r"steps\.csv must .*Remove .*seed-0, and the same command trains it again",
        ),
        ("steps.csv", lambda text: "", r"steps\.csv"),
        ("steps.csv", None, r"steps\.csv"),
        ("steps.csv", lambda text: text.replace("0.693", "NaN"), r"steps\.csv"),
        ("history.csv", lambda text: text.replace("val_main_accuracy", "accuracy"), r"history\.csv"),
        ("history.csv", lambda text: text + "3,0.6,0.3\n", r"history\.csv must hold all of a finished training"),
        ("history.csv", None, r"history\.csv"),
        (
            "gradients.csv",
            lambda text: text.splitlines()[0] + "\n",
            r"gradients\.csv must have a number .* Remove .*seed-0",
        ),
        ("gradients.csv", lambda text: text.replace("0.001", "wide", 1), r"gradients\.csv must have a number"),
        ("gradients.csv", lambda text: text[:-9], r"gradients\.csv"),
        ("results.json", lambda text: text[:-9], r"results\.json is missing or no JSON file"),
        ("results.json", lambda text: text.replace("0.5", "NaN"), r"results\.json must hold the results of a training"),
        ("results.json", lambda text: text.replace('"sizes"', '"size"'), r"results\.json must hold the results"),
        ("config.json", lambda text: text[:-9], r"config\.json is missing or no JSON file"),
    ],
)
def test_a_damaged_file_of_a_finished_training_is_named(name, change, message, tmp_path):
    write_study(tmp_path, ("googlenet",), seeds=1)
    path = tmp_path / "googlenet" / "none" / "seed-0" / name
    text = path.read_text()
    path.unlink() if change is None else path.write_text(change(text))
    with pytest.raises(InputError, match=message):
        finished(tmp_path, seeds=1, architectures=("googlenet",))


def test_a_study_that_goes_on_over_other_images_is_refused(tmp_path, monkeypatch):
    def record(train, test, classes=("a", "b")):
        return {"source": "folder", "classes": list(classes), "splits": {"train": train, "test": test}, "skipped": []}

    def train(config, folder, *, on_data, **options):
        on_data(types.SimpleNamespace(record=records.pop(), validation=None), None)

    monkeypatch.setattr(sys.modules[study.heads.__module__], "train", train)
    write_study(tmp_path, ("googlenet",), seeds=1)
    (tmp_path / "googlenet" / "aux1" / "seed-0" / "results.json").unlink()
    first = tmp_path / "googlenet" / "none" / "seed-0"
    files.write_json(first / "data.json", record({"a/1": 5, "b/1": 6}, {"a/0": 1}))
    others = "must see the same images, and these are others than those of googlenet, none, seed 0"
    for now, message in (
        (record({"a/0": 1, "b/1": 6}, {"a/1": 5}), "A study needs validation images"),  # another split of the same
        (record({"a/1": 5, "b/1": 6}, {}), others),
        (record({"a/1": 5, "b/1": 7}, {"a/0": 1}), others),
        (record({"a/1": 5, "b/1": 6}, {"a/0": 1}, classes=("b", "a")), others),
    ):
        records = [now]
        with pytest.raises(InputError, match=message):
            finished(tmp_path, seeds=1, architectures=("googlenet",))


def test_two_studies_in_one_folder_are_refused(tmp_path):
    write_study(tmp_path, ("googlenet",), seeds=1)
    with files.locked(tmp_path), pytest.raises(InputError, match=rf"Another process is writing to {tmp_path}\."):
        finished(tmp_path, seeds=1, architectures=("googlenet",))


def test_the_command_refuses_in_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["study", "heads", "--variants", "three"]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "`variants` must be among none" in printed
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_the_tables(found, capsys):
    options = ("--dataset", "pictures", "--epochs", "2", "--batch-size", "8", "--variants", *THREE)
    assert main(["study", "heads", *options, "--out", str(found.folder)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(
        "18 trainings of 2 epochs, 18 of them are done\ngooglenet, none, seed 0: accuracy 50.00%, 20"
    )
    for word in ("70.00% ± 10.00", "(+10.00 to +10.00): a gain", "inception_4a", "aux2 at the end", "study.md"):
        assert word in printed


def test_a_folder_that_holds_rows_alone_goes_on_from_there(found, tmp_path, monkeypatch):
    """As where the file of rows was committed, and is taken up on another machine."""
    shutil.copy(found.folder / "trainings.jsonl", tmp_path)
    trained = []

    def train(config, folder, **options):
        trained.append(folder.relative_to(tmp_path).as_posix())
        write_run(folder, config.architecture, folder.parts[-2], config.seed)

    monkeypatch.setattr(sys.modules[study.heads.__module__], "train", train)
    again = finished(tmp_path)
    assert trained == []
    for name in ("study.csv", "study.md"):
        assert (tmp_path / name).read_text() == (found.folder / name).read_text()
    rows = (tmp_path / "trainings.jsonl").read_text().splitlines(keepends=True)
    assert len(rows) == 18 == len(again.trainings)
    (tmp_path / "trainings.jsonl").write_text("".join(row for row in rows if '"seed":1' not in row))
    assert len(finished(tmp_path).trainings) == 18
    names = [f"{network}/{variant}/seed-1" for network in ("googlenet", "googlenet_bn") for variant in THREE]
    assert trained == names
    assert sorted((tmp_path / "trainings.jsonl").read_text().splitlines(keepends=True)) == sorted(rows)


def test_rows_of_the_same_images_in_another_place_are_taken_up(found, tmp_path):
    shutil.copy(found.folder / "trainings.jsonl", tmp_path)
    options = {"variants": THREE, "seeds": 3}
    assert len(study.heads(config(dataset="elsewhere/pictures"), tmp_path, **options).trainings) == 18
    with pytest.raises(InputError, match="holds another study: dataset was pictures and is elsewhere/others"):
        study.heads(config(dataset="elsewhere/others"), tmp_path, **options)
    with pytest.raises(InputError, match="holds another study: epochs was 2 and is 3"):
        study.heads(config(epochs=3), tmp_path, **options)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-100] + "\n",
        lambda text: text.replace('"chance":0.693', '"chance":null', 1),
        lambda text: text.replace('"seed":0', '"seed":-1', 1),
        lambda text: text.replace('"losses":[', '"losses":["a",', 1),
        lambda text: text.replace('"steps":40', '"stages":40', 1),
        lambda text: text.replace('"gradient_epochs":[0,1,2]', '"gradient_epochs":[0,1]', 1),
        lambda text: "[]\n" + text,
    ],
    ids=["cut", "null", "seed", "text", "name", "epochs", "list"],
)
def test_a_damaged_row_is_named_with_the_way_out(change, found, tmp_path):
    text = (found.folder / "trainings.jsonl").read_text()
    (tmp_path / "trainings.jsonl").write_text(change(text))
    with pytest.raises(
        InputError, match=r"trainings\.jsonl is .* \(line \d+ is no finished training: .*trains it again"
    ):
        finished(tmp_path)


def test_initialisations_are_compared_network_by_network(tmp_path):
    kernels = {"glorot": "glorot_uniform", "bvlc": "lecun_uniform"}
    biases = {"glorot": None, "bvlc": "constant(value=0.2)"}
    for name, kernel in kernels.items():
        for variant in ("none", "both"):
            folder = tmp_path / f"googlenet-{name}" / variant / "seed-0"
            write_run(folder, "googlenet", variant, 0, kernel_initializer=kernel, bias_initializer=biases[name])
    options = {"seeds": 1, "architectures": ["googlenet"], "variants": ["none", "both"]}
    found = study.heads(config(), tmp_path, initializers=["glorot", "bvlc"], **options)
    assert found.networks == ("googlenet-glorot", "googlenet-bvlc")
    assert "## googlenet-bvlc" in (tmp_path / "study.md").read_text()
    assert study.heads(config(), tmp_path, initializers=["bvlc"], **options).networks == ("googlenet-bvlc",)
    own = {"bvlc": ("he_normal", None)}  # another meaning of a name that is there
    with pytest.raises(InputError, match="kernel_initializer was lecun_uniform and is he_normal, bias_initializer was"):
        study.heads(config(), tmp_path, initializers=own, **options)


def test_falling_weights_are_a_variant_on_request(tmp_path):
    planned = []

    def begin(missing, count):
        planned.append((missing, count))
        raise KeyboardInterrupt

    for variants, count in ((None, 4), (["none", "both", "falling"], 3)):
        with pytest.raises(KeyboardInterrupt):
            study.heads(config(), tmp_path, seeds=1, architectures=["googlenet"], variants=variants, on_begin=begin)
        assert planned.pop() == (count, count)
    weights = (1.0, 0.3, 0.3)
    falling = config(architecture="googlenet", loss_weights=weights, aux_loss_schedule="linear", gradient_flow=1)
    write_run(tmp_path / "googlenet" / "both" / "seed-0", "googlenet", "both", 0)
    folder = tmp_path / "googlenet" / "falling" / "seed-0"
    shutil.copytree(tmp_path / "googlenet" / "both" / "seed-0", folder)
    files.write_json(folder / "config.json", to_options(dataclasses.replace(falling, image_size=96)))
    found = study.heads(config(), tmp_path, seeds=1, architectures=["googlenet"], variants=["both", "falling"])
    assert found.variants == {"both": ("aux1", "aux2"), "falling": ("aux1", "aux2")}
    shutil.rmtree(folder.parent)
    shutil.copytree(tmp_path / "googlenet" / "both", folder.parent)  # whose weights did not fall
    (tmp_path / "trainings.jsonl").unlink()
    with pytest.raises(InputError, match="aux_loss_schedule was constant and is linear"):
        study.heads(config(), tmp_path, seeds=1, architectures=["googlenet"], variants=["both", "falling"])
