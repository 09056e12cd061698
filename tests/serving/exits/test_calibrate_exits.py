"""Temperatures, thresholds and what they are said to do, against answers that are known."""

import itertools
import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from served_network import IMAGE, random_images

import keras_inception as ki
from keras_inception.network import cost
from keras_inception.serving import exits
from keras_inception.serving.exits import calibration as calibrating
from keras_inception.serving.exits.stages import TENSOR_CRITERIA

ALL = ("aux1", "aux2", "main")


@pytest.fixture(scope="module", autouse=True)
def _fewer_combinations():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrating, "COMBINATIONS", 200)
        yield


@pytest.fixture(scope="module")
def images():
    return random_images(400, seed=5)


@pytest.fixture(scope="module")
def outputs(model, images):
    """The softmaxes by head."""
    return dict(zip(model.output_names, model.predict(images, verbose=0)))


@pytest.fixture(scope="module")
def labels(outputs):
    """Labels of which the main head gets some 80% right, and the others fewer."""
    random = np.random.default_rng(7)
    guesses = [*(outputs[head].argmax(axis=1) for head in ("main", "aux1", "aux2")), random.integers(0, 7, 400)]
    return np.choose(random.choice(4, 400, p=[0.7, 0.15, 0.1, 0.05]), guesses)


@pytest.fixture(scope="module")
def calibration(model, images, labels):
    return ki.calibrate_exits(model, (images, labels), max_accuracy_loss=0.3)


def calibrated(outputs, calibration):
    """Returns the answers by head: the weighted geometric means of the softmaxes."""
    powers = {
        head: np.prod([outputs[name].astype("float64") ** weight for name, weight in weights.items()], axis=0)
        for head, weights in calibration.mixtures.items()
    }
    return {head: rows / rows.sum(axis=1, keepdims=True) for head, rows in powers.items()}


def drawn(random, logits):
    """Returns labels that are drawn from the softmax of logits."""
    return (logits + random.gumbel(size=logits.shape)).argmax(axis=1)


def test_the_weight_of_a_single_head_is_the_inverse_of_its_temperature():
    random = np.random.default_rng(0)
    logits = random.normal(size=(20_000, 4)) * 2
    labels = drawn(random, logits)
    assert calibrating.mixture([logits], labels) == pytest.approx([1], abs=0.05)
    assert calibrating.mixture([3 * logits], labels) == pytest.approx([1 / 3], abs=0.02)


def test_the_weights_of_several_heads_are_those_that_the_labels_were_drawn_with():
    random = np.random.default_rng(0)
    first, second, third = random.normal(size=(3, 20_000, 4)) * 2
    labels = drawn(random, 0.3 * first + 0.8 * third)
    assert calibrating.mixture([first, second, third], labels) == pytest.approx([0.3, 0, 0.8], abs=0.03)
    assert calibrating.mixture([second], labels) == pytest.approx([0.05], abs=1e-6)  # one that answers stays in


@pytest.mark.parametrize("images", [5, 30])
def test_a_few_images_that_are_answered_rightly_do_not_make_a_head_certain(images):
    """Else the weight would be the largest one, with which all probabilities are 1."""
    labels = np.arange(images) % 4
    logits = 2.0 * np.eye(4)[labels]
    (weight,) = calibrating.mixture([logits], labels)
    others = 3 * np.exp(-2 * weight)
    assert 1 / (1 + others) == pytest.approx((images + 1) / (images + 2), abs=1e-3)


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        ("confidence", [0.5, 0.25, 1]),
        # 1 minus the entropy in units of the largest, ln 4: of (1/2, 1/4, 1/8, 1/8) it is 1.75 ln 2
        ("entropy", [1 - 1.75 / 2, 0, 1]),
        ("margin", [0.25, 0, 1]),
    ],
)
def test_how_sure_an_answer_is(criterion, expected):
    probabilities = np.array([[1 / 4, 1 / 2, 1 / 8, 1 / 8], [1 / 4] * 4, [0, 0, 1, 0]])
    assert calibrating.CRITERIA[criterion](probabilities) == pytest.approx(expected, abs=1e-6)
    tensor = tf.constant(probabilities, tf.float32)
    np.testing.assert_allclose(TENSOR_CRITERIA[criterion](tensor), expected, atol=1e-6)


@pytest.mark.parametrize("criterion", ["confidence", "entropy", "margin"])
def test_a_criterion_may_be_chosen_and_none_is_the_cheapest(model, images, labels, calibration, criterion):
    found = ki.calibrate_exits(model, (images, labels), max_accuracy_loss=0.3, criterion=criterion)
    assert found.criterion == criterion
    assert found.chosen.multiply_adds >= calibration.chosen.multiply_adds
    if criterion == calibration.criterion:
        assert found == calibration


def test_what_it_says_is_what_the_network_then_does(model, calibration, images, labels):
    """Accuracy, shares and cost, on the images that set the thresholds and on others."""
    others = random_images(300, seed=9), np.random.default_rng(9).integers(0, 7, 300)
    scored = exits.score(model, calibration, others)
    assert len(scored) == len(calibration.table)
    for index in (0, len(scored) // 2, calibration.table.index(calibration.chosen)):
        chosen = calibration.table[index]
        exiting = exits.EarlyExitModel(model, chosen.thresholds, chosen.mixtures, calibration.criterion)
        for (x, y), point in (((images, labels), calibration.table[index]), (others, scored[index])):
            found = exiting(x)
            left = np.array(exiting.exit_names)[found["exit"]]
            # An image whose probability is the threshold itself may round to either side: 1 of 400.
            for head in ALL:
                assert point.shares.get(head, 0) == pytest.approx((left == head).mean(), abs=0.005)
            accuracy = (np.argmax(found["probabilities"], axis=1) == y).mean()
            assert point.accuracy == pytest.approx(accuracy, abs=0.005)


def test_no_threshold_is_so_high_that_an_answer_rounds_to_it():
    sure = 1 - np.logspace(-1, -12, 200)  # in float64; in float32 the last ones are 1
    thresholds = calibrating._Answers._quantiles(types.SimpleNamespace(_sure={"aux1": sure}), "aux1", 50)
    assert thresholds[-1] == calibrating.NEVER
    assert 0.999 < thresholds[-2] < 1
    assert (sure.astype("float32") == 1).sum() > 50


def test_the_multiply_adds_are_those_of_the_cut_networks(model, calibration):
    cut = {head: sum(row.multiply_adds for row in cost.rows(ki.inference_model(model, head))) for head in ALL}
    heads = {row.name: row.multiply_adds for row in cost.rows(model) if row.name in ("aux1", "aux2")}
    assert calibration.multiply_adds == cut["main"] == calibration.table[0].multiply_adds
    for point in calibration.table:
        asked = [heads[head] * (head in point.thresholds) for head in ("aux1", "aux2")]
        spent = {"aux1": cut["aux1"], "aux2": cut["aux2"] + asked[0], "main": cut["main"] + sum(asked)}
        assert point.multiply_adds == pytest.approx(sum(spent[head] * share for head, share in point.shares.items()))


def test_the_chosen_thresholds_are_the_cheapest_that_keep_the_accuracy(model, calibration, outputs, images, labels):
    """A second search over other thresholds of the heads in use: none that keeps the promise is much cheaper."""
    answers = calibrated(outputs, calibration)
    heads = [head for head in answers if head != "main"]
    sure = {head: calibrating.CRITERIA[calibration.criterion](rows) for head, rows in answers.items()}
    right = {head: rows.argmax(axis=1) == labels for head, rows in answers.items()}
    of_main = outputs["main"].argmax(axis=1) == labels
    costs = {head: sum(row.multiply_adds for row in cost.rows(ki.inference_model(model, head))) for head in ALL}
    least = np.inf
    for thresholds in itertools.product(*(np.quantile(sure[head], np.linspace(0, 1, 9)) for head in heads)):
        leaves = [sure[head] >= threshold for head, threshold in zip(heads, thresholds)]
        lost = of_main.astype(int) - np.select(leaves, [right[head] for head in heads], right["main"])
        if np.mean(lost) + 2 * np.std(lost) / 20 <= 0.3:
            least = min(least, np.mean(np.select(leaves, [costs[head] for head in heads], costs["main"])))
    chosen = calibration.chosen
    assert chosen.accuracy_loss + 2 * chosen.standard_error <= chosen.highest_loss <= 0.3
    assert 0.1 < chosen.shares["main"] < 0.9
    passed = sum(row.multiply_adds for row in cost.rows(model) if row.name in ("aux1", "aux2"))
    assert chosen.multiply_adds <= least + passed  # the second search does not count the heads that were passed
    alone = ki.calibrate_exits(model, (images, labels), 0.0)
    assert alone.chosen.multiply_adds > chosen.multiply_adds  # less may be lost, and less is saved


def test_images_leave_at_a_head_that_is_right_where_main_is_and_at_no_other(model, images, outputs):
    guesses = {head: rows.argmax(axis=1) for head, rows in outputs.items()}
    found = ki.calibrate_exits(model, (images, guesses["aux1"]), max_accuracy_loss=0).chosen
    assert (found.shares["aux1"], found.accuracy) == (1, 1)
    assert found.accuracy_loss < 0
    found = ki.calibrate_exits(model, (images, guesses["main"]), max_accuracy_loss=0).chosen
    assert found.accuracy == 1
    for head in ("aux1", "aux2"):
        assert found.shares.get(head, 0) <= np.mean(guesses[head] == guesses["main"])


@pytest.mark.parametrize(("count", "loss", "leave"), [(29, 0.1, 0.0), (30, 0.1, 1.0), (1499, 0.002, 0.0)])
def test_no_image_leaves_where_too_few_are_seen_to_know(model, outputs, monkeypatch, count, loss, leave):
    """All heads answer alike here; in n others an earlier one may still lose three images."""
    probabilities = np.resize(outputs["main"], (count, 7))
    found = types.SimpleNamespace(probabilities=dict.fromkeys(ALL, probabilities), labels=probabilities.argmax(axis=1))
    monkeypatch.setattr(calibrating.evaluation, "predict", lambda *arguments, **options: found)
    chosen = ki.calibrate_exits(model, (), loss).chosen
    assert chosen.shares.get("aux1", 0.0) == leave
    assert chosen.accuracy_loss == 0


def test_the_table_goes_from_no_exits_to_the_cheapest_and_holds_the_chosen_ones(calibration):
    costs = [point.multiply_adds for point in calibration.table]
    assert costs == sorted(costs, reverse=True)
    assert calibration.table[0].thresholds == {}
    assert calibration.table[0].shares == {"main": 1.0}
    assert calibration.table[-1].shares["aux1"] == 1
    assert calibration.chosen in calibration.table
    assert calibration.chosen.thresholds == calibration.thresholds
    assert 4 <= len(calibration.table) <= 14


def test_data_comes_as_arrays_or_in_batches_with_labels_of_either_form(model, calibration, images, labels):
    data = tf.data.Dataset.from_tensor_slices((images, keras.utils.to_categorical(labels, 7))).batch(100)
    found = ki.calibrate_exits(model, data, max_accuracy_loss=0.3)
    assert found.images == 400
    # Other batch sizes round otherwise, in the sixth digit of a threshold.
    assert found.mixtures["aux1"] == pytest.approx(calibration.mixtures["aux1"], rel=1e-3)
    assert found.chosen.multiply_adds == pytest.approx(calibration.chosen.multiply_adds, rel=0.01)


def test_it_travels_as_a_json_file_and_makes_the_model(model, calibration, tmp_path):
    calibration.save(tmp_path / "exits.json")
    written = json.loads((tmp_path / "exits.json").read_text())
    written["losses"], written["chosen"]["milliseconds"] = {"aux1": [1.1, 1.0]}, {"1": 12.8}  # earlier versions' too
    (tmp_path / "earlier.json").write_text(json.dumps(written))
    for name in ("exits.json", "earlier.json"):
        again = exits.ExitCalibration.from_file(tmp_path / name)
        assert again == calibration
    exiting = ki.early_exit_model(model, again)
    assert (exiting.thresholds, exiting.mixtures) == (calibration.thresholds, calibration.mixtures)
    assert exiting.criterion == calibration.criterion


def test_a_file_of_an_earlier_version_lets_each_head_answer_alone(model, calibration, answers, tmp_path):
    calibration.save(tmp_path / "exits.json")
    written = json.loads((tmp_path / "exits.json").read_text())
    for point in (written, written["chosen"], *written["table"]):
        del point["mixtures"]
    del written["criterion"], written["exit_names"]
    written["temperatures"] = {"aux1": 2.0, "aux2": 1.0, "main": 1.0}
    written["thresholds"] = {"aux1": 0.0}
    (tmp_path / "exits.json").write_text(json.dumps(written))
    again = exits.ExitCalibration.from_file(tmp_path / "exits.json")
    assert (again.criterion, again.exit_names) == ("confidence", ["aux1", "aux2", "main"])
    assert [row["chosen"] for row in again.rows()].count(True) == 1
    expected = np.sqrt(answers["aux1"][:8])
    found = ki.early_exit_model(model, again)(random_images(64)[:8])["probabilities"]
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("text", ["{}", "[]", '{"thresholds": {}}', "no json"])
def test_a_file_that_is_no_calibration_is_refused(tmp_path, text):
    (tmp_path / "exits.json").write_text(text)
    with pytest.raises(ki.InputError, match=r"exits\.json is (no calibration of early exits|missing or no JSON file)"):
        exits.ExitCalibration.from_file(tmp_path / "exits.json")


def test_rows_hold_the_points_of_both_sets_of_images(model, calibration, images):
    points = exits.score(model, calibration, (images[:50], np.zeros(50, int)))
    rows = calibration.rows(points)
    assert [row["chosen"] for row in rows].count(True) == 1
    assert rows[0] == {
        "aux1_threshold": None, "aux2_threshold": None, "aux1_share": 0.0, "aux2_share": 0.0,
        "validation_accuracy": calibration.table[0].accuracy, "multiply_adds": calibration.multiply_adds,
        "test_accuracy": points[0].accuracy, "test_multiply_adds": calibration.multiply_adds, "chosen": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "loss", "message"),
    [
        ((np.zeros((0, *IMAGE)), np.zeros(0)), 0, "there are none"),
        ([np.zeros((4, *IMAGE), "float32")], 0, "pairs of image and label"),
        ((np.zeros((8, *IMAGE), "float32"), np.arange(8)), 0, "Labels must be integers from 0 to 6"),
        ([], -0.1, r"`max_accuracy_loss` must be a share of the images from 0 to 1; .*Received"),
        ([], 20, r"`max_accuracy_loss` must be a share"),
        ([], float("nan"), r"`max_accuracy_loss` must be a share"),
    ],
)
def test_what_is_no_labelled_images_and_no_share_is_refused(model, data, loss, message):
    with pytest.raises(ki.InputError, match=message):
        ki.calibrate_exits(model, data, loss)
    with pytest.raises(ki.InputError, match="need the main head and an auxiliary head"):
        ki.calibrate_exits(ki.inference_model(model), data)


def test_a_criterion_that_there_is_not_is_refused(model):
    with pytest.raises(ki.InputError, match=r"`criterion` must be None or one of \('confidence', .*criterion='energy'"):
        ki.calibrate_exits(model, [], criterion="energy")


def test_where_each_image_leaves_is_where_the_network_with_exits_lets_it_leave(model, images, labels, calibration):
    found = exits.leaves(model, calibration, (images, labels))
    served = ki.early_exit_model(model, calibration)(images)
    assert len({leave.head for leave in found}) > 1
    assert [calibration.exit_names.index(leave.head) for leave in found] == served["exit"].numpy().tolist()
    probabilities = served["probabilities"].numpy()
    assert [leave.answer for leave in found] == probabilities.argmax(axis=1).tolist()
    assert [leave.label for leave in found] == labels.tolist()
    np.testing.assert_allclose([leave.confidence for leave in found], probabilities.max(axis=1), atol=1e-5)
    for leave in found:
        assert leave.head == "main" or leave.sure >= calibration.thresholds[leave.head]
