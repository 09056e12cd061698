"""Temperatures, thresholds and what they are said to do, against answers that are known."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure
from small_network import CLASSES, IMAGE, build, leaves_at, random_images

import keras_inception as ki
from keras_inception.network import cost
from keras_inception.serving import exits
from keras_inception.serving.exits import calibration as calibrating

pytestmark = pytest.mark.tensorflow

ALL = ("aux1", "aux2", "main")


@pytest.fixture(scope="module")
def images():
    return random_images(400, seed=5)


@pytest.fixture(scope="module")
def guesses(network, images):
    """The class that each head names, by head."""
    outputs = network.predict(images, verbose=0)
    return {name: output.argmax(axis=1) for name, output in zip(network.output_names, outputs)}


@pytest.fixture(scope="module")
def labels(guesses):
    """Labels of which the main head gets 80% right, and of the others aux1 and aux2 some."""
    random = np.random.default_rng(7)
    return np.where(random.uniform(size=400) < 0.8, guesses["main"], random.integers(0, CLASSES, 400))


@pytest.fixture(scope="module")
def calibration(network, images, labels):
    return ki.calibrate_exits(network, (images, labels), max_accuracy_loss=0.3)


def test_the_temperature_of_logits_is_what_they_were_multiplied_by():
    random = np.random.default_rng(0)
    logits = random.normal(size=(20_000, 4)) * 2
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from the softmax of the logits
    assert calibrating.temperature(logits, labels) == pytest.approx(1, abs=0.05)
    assert calibrating.temperature(3 * logits, labels) == pytest.approx(3, abs=0.15)


def test_temperatures_lower_the_cross_entropy_and_change_no_answer(network, calibration, images, labels):
    outputs = dict(zip(network.output_names, network.predict(images, verbose=0)))
    for head in ALL:
        before, after = calibration.losses[head]
        assert after <= before
        loss = keras.losses.sparse_categorical_crossentropy(labels, outputs[head])
        assert before == pytest.approx(float(np.mean(loss)), rel=1e-4)
        powers = outputs[head] ** (1 / calibration.temperatures[head])
        loss = keras.losses.sparse_categorical_crossentropy(labels, powers / powers.sum(axis=1, keepdims=True))
        assert after == pytest.approx(float(np.mean(loss)), rel=1e-4)


def test_what_it_says_is_what_the_network_then_does(network, calibration, images, labels):
    """Accuracy, shares and cost, on the images that set the thresholds and on others."""
    others = random_images(300, seed=9), np.random.default_rng(9).integers(0, CLASSES, 300)
    exiting = exits.EarlyExitModel(network, 0.5, calibration.temperatures)
    for (x, y), points in (
        ((images, labels), calibration.table),
        (others, exits.score(network, calibration, others)),
    ):
        assert len(points) == len(calibration.table)
        for point in points:
            found = exiting.answer(x, [point.thresholds.get(head, 2) for head in ("aux1", "aux2")])
            left = np.array(exiting.exit_names)[found["exit"]]
            # An image whose probability is the threshold itself may round to either side: 1 of 400.
            for head in ALL:
                assert point.shares.get(head, 0) == pytest.approx((left == head).mean(), abs=0.005)
            accuracy = (np.argmax(found["probabilities"], axis=1) == y).mean()
            assert point.accuracy == pytest.approx(accuracy, abs=0.005)


def test_the_multiply_adds_are_those_of_the_cut_networks(network, calibration):
    cut = {
        head: sum(row.multiply_adds for row in cost.rows(ki.inference_model(network, head=head)))
        for head in network.output_names
    }
    aux1_head = next(row.multiply_adds for row in cost.rows(network) if row.name == "aux1")
    aux2_head = next(row.multiply_adds for row in cost.rows(network) if row.name == "aux2")
    assert calibration.multiply_adds == cut["main"] == calibration.table[0].multiply_adds
    for point in calibration.table:
        asked = [aux1_head * ("aux1" in point.thresholds), aux2_head * ("aux2" in point.thresholds)]
        spent = {"aux1": cut["aux1"], "aux2": cut["aux2"] + asked[0], "main": cut["main"] + sum(asked)}
        assert point.multiply_adds == pytest.approx(sum(spent[head] * share for head, share in point.shares.items()))


def test_the_chosen_thresholds_are_the_cheapest_that_are_sure_to_keep_the_accuracy(
    network, calibration, images, labels
):
    """A second search, image by image, over other thresholds: none that keeps the promise is much cheaper."""
    outputs = dict(zip(network.output_names, network.predict(images, verbose=0)))
    scaled = {}
    for head, values in outputs.items():
        powers = values ** (1 / calibration.temperatures[head])
        scaled[head] = powers / powers.sum(axis=1, keepdims=True)
    right = {head: values.argmax(axis=1) == labels for head, values in outputs.items()}
    costs = {head: sum(r.multiply_adds for r in cost.rows(ki.inference_model(network, head))) for head in ALL}
    least = np.inf
    for aux1 in np.quantile(scaled["aux1"].max(axis=1), np.linspace(0, 1, 9)):
        for aux2 in np.quantile(scaled["aux2"].max(axis=1), np.linspace(0, 1, 9)):
            left = leaves_at(scaled, {"aux1": aux1, "aux2": aux2}, 400)
            lost = [int(right["main"][row]) - int(right[head][row]) for row, head in enumerate(left)]
            if np.mean(lost) + np.std(lost) / 20 <= 0.3:
                least = min(least, np.mean([costs[head] for head in left]))
    chosen = calibration.chosen
    assert chosen.accuracy_loss + chosen.standard_error <= chosen.highest_loss <= 0.3
    assert 0.1 < chosen.shares["main"] < 0.9
    heads = sum(row.multiply_adds for row in cost.rows(network) if row.name in ("aux1", "aux2"))
    assert chosen.multiply_adds <= least + heads  # the second search does not count the heads that were passed


def test_every_image_leaves_at_a_head_that_is_always_right(network, images, guesses):
    found = ki.calibrate_exits(network, (images, guesses["aux1"]), max_accuracy_loss=0)
    assert found.chosen.shares["aux1"] == 1
    assert found.chosen.accuracy == 1
    assert found.chosen.accuracy_loss < 0


def test_no_image_leaves_where_a_head_says_otherwise_than_a_main_head_that_is_always_right(network, images, guesses):
    found = ki.calibrate_exits(network, (images, guesses["main"]), max_accuracy_loss=0)
    assert found.chosen.accuracy == 1
    for head in ("aux1", "aux2"):
        assert found.chosen.shares.get(head, 0) <= np.mean(guesses[head] == guesses["main"])


def test_the_table_goes_from_no_exits_to_the_cheapest_and_holds_the_chosen_ones(calibration):
    costs = [point.multiply_adds for point in calibration.table]
    assert costs == sorted(costs, reverse=True)
    assert calibration.table[0].thresholds == {}
    assert calibration.table[0].shares == {"main": 1.0}
    assert calibration.table[-1].shares["aux1"] == 1
    assert calibration.chosen in calibration.table
    assert calibration.chosen.thresholds == calibration.thresholds
    assert 4 <= len(calibration.table) <= 14


def test_data_comes_as_arrays_or_in_batches_with_labels_of_either_form(network, calibration, images, labels):
    one_hot = keras.utils.to_categorical(labels, CLASSES)
    for data in (
        tf.data.Dataset.from_tensor_slices((images, one_hot)).batch(100),
        [(images[:200], labels[:200, None]), (images[200:], labels[200:, None])],
    ):
        found = ki.calibrate_exits(network, data, max_accuracy_loss=0.3)
        assert found.images == 400
        # Other batch sizes round otherwise, in the sixth digit of a threshold.
        assert found.temperatures == pytest.approx(calibration.temperatures, rel=1e-3)
        assert found.chosen.multiply_adds == pytest.approx(calibration.chosen.multiply_adds, rel=0.01)


def test_it_travels_as_a_json_file_and_makes_the_model(network, calibration, images, tmp_path):
    calibration.save(tmp_path / "exits.json")
    again = exits.ExitCalibration.from_file(tmp_path / "exits.json")
    assert again == calibration
    model = ki.early_exit_model(network, again)
    assert (model.thresholds, model.temperatures) == (calibration.thresholds, calibration.temperatures)


@pytest.mark.parametrize("text", ["{}", "[]", '{"thresholds": {}}', "no json"])
def test_a_file_that_is_no_calibration_is_refused(tmp_path, text):
    (tmp_path / "exits.json").write_text(text)
    with pytest.raises(ValueError, match=r"exits\.json is (no calibration of early exits|missing or no JSON file)"):
        exits.ExitCalibration.from_file(tmp_path / "exits.json")


def test_times_are_measured_at_some_points_and_at_the_chosen_one(network, calibration, images, tmp_path):
    timed = exits.measure_latency(network, calibration, images[:5], batch_sizes=(1, 4), points=2, repeats=1)
    measured = [point for point in timed.table if point.milliseconds]
    assert 2 <= len(measured) <= 3
    assert all(set(point.milliseconds) == {1, 4} and min(point.milliseconds.values()) > 0 for point in measured)
    assert timed.chosen in measured
    assert timed.table[0] in measured
    timed.save(tmp_path / "exits.json")
    assert exits.ExitCalibration.from_file(tmp_path / "exits.json") == timed
    with pytest.raises(ValueError, match=r"Measuring batches of 16 needs as many images. Received: 5 images"):
        exits.measure_latency(network, calibration, images[:5])

    figure = exits.exits_figure(timed, exits.score(network, timed, (images[:50], np.zeros(50, int))))
    assert isinstance(figure, Figure)
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "mean multiply-adds of an image, millions",
        "milliseconds an image, batch 1",
        "milliseconds an image, batch 4",
    ]
    assert all(len(axes.get_legend().get_texts()) == 2 for axes in figure.axes)


def test_a_sample_is_drawn_from_all_batches():
    batches = [(np.full((10, 1), start), None) for start in range(20)]
    drawn = exits.sample(batches, 50)
    assert drawn.shape == (50, 1)
    assert len(set(drawn[:, 0])) > 10
    assert exits.sample(batches[:1], 50).shape == (10, 1)


@pytest.mark.parametrize("data", [(np.zeros((0, *IMAGE)), np.zeros(0)), [], tf.data.Dataset.range(0)])
def test_no_images_are_refused(network, data):
    with pytest.raises(ValueError, match="calibrated on labelled images, and there are none"):
        ki.calibrate_exits(network, data)


@pytest.mark.parametrize("data", [None, np.zeros((4, *IMAGE), "float32"), [np.zeros((4, *IMAGE), "float32")]])
def test_data_without_labels_is_refused(network, data):
    with pytest.raises(
        ValueError, match="`data` must be a pair of arrays, images and labels, or batches of such pairs"
    ):
        ki.calibrate_exits(network, data)


def test_labels_that_do_not_fit_are_refused(network, images):
    with pytest.raises(ValueError, match=r"Labels must be integers from 0 to 4, .* Received: labels from 0 to 5"):
        ki.calibrate_exits(network, (images[:6], np.arange(6)))
    with pytest.raises(ValueError, match=r"one label for each image. Received: 6 images, 5 labels"):
        ki.calibrate_exits(network, (images[:6], np.arange(5)))


@pytest.mark.parametrize("loss", [-0.1, 20, float("nan")])
def test_an_accuracy_loss_that_is_no_share_is_refused(network, images, loss):
    with pytest.raises(ValueError, match=r"`max_accuracy_loss` must be a share of the images from 0 to 1; .*Received"):
        ki.calibrate_exits(network, (images, np.zeros(400)), loss)


def test_a_model_of_one_output_is_refused(network, images):
    for model in (ki.inference_model(network), build(aux_heads=False)):
        with pytest.raises(ValueError, match="need the main head and an auxiliary head"):
            ki.calibrate_exits(model, (images, np.zeros(400)))
