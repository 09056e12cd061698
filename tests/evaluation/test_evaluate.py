"""Scores of crops and ensembles, against sums by hand, and what they keep in memory."""

import gc
import weakref

import keras
import numpy as np
import pytest
from linear_network import CLASSES, SIZE, build

import keras_inception as ki
from keras_inception import evaluation
from keras_inception.errors import InputError
from keras_inception.network import losses

TOLERANCE = 1e-5  # float32 softmaxes in other batches


def by_hand(model, originals, crops, size=SIZE, head=0):
    """Averages the softmaxes of one image's crops, one image at a time."""
    rows = [softmaxes(model, evaluation.crops(image, crops, size) / 127.5 - 1)[head] for image, _ in originals]
    return np.array([row.mean(axis=0) for row in rows])


def softmaxes(model, x):
    return [keras.ops.convert_to_numpy(output) for output in model(x, training=False)]


@pytest.mark.parametrize("crops", [1, 10, 144])
def test_crops_are_averaged_image_by_image_for_every_head(model, originals, crops):
    found = evaluation.predict(model, originals, crops=crops, batch_size=17)
    assert found.labels.tolist() == [label for _, label in originals]
    for index, head in enumerate(("main", "aux1", "aux2")):
        expected = by_hand(model, originals, crops, head=index)
        np.testing.assert_allclose(found.probabilities[head], expected, atol=TOLERANCE)
    assert list(found.probabilities) == ["main", "aux1", "aux2"]


def test_evaluate_counts_what_predict_says(model, originals):
    labels = np.array([label for _, label in originals])
    scores = evaluation.evaluate(model, originals, crops=10, top=(1, 2))
    for index, head in enumerate(("main", "aux1", "aux2")):
        rows = by_hand(model, originals, 10, head=index)
        best = np.argsort(-rows, axis=1)
        assert set(scores[head]) == {"loss", "accuracy", "top_2_accuracy"}
        assert scores[head]["accuracy"] == np.mean(best[:, 0] == labels)
        assert scores[head]["top_2_accuracy"] == np.mean((best[:, :2] == labels[:, None]).any(axis=1))
        assert scores[head]["loss"] == pytest.approx(-np.log(rows[range(6), labels]).mean(), rel=1e-4)


class Batches(keras.utils.PyDataset):
    """A single batch, on any backend."""

    def __init__(self, *batch):
        super().__init__()
        self.batch = batch

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.batch


def test_the_average_of_the_heads_is_scored_beside_them(model):
    x = np.random.default_rng(0).uniform(-1, 1, (6, SIZE, SIZE, 3)).astype("float32")
    labels = np.arange(6) % CLASSES
    found = evaluation.evaluate(model, (x, labels))
    assert list(found) == [*model.output_names, "average"]
    average = np.mean([softmaxes(ki.inference_model(model, head), x) for head in model.output_names], axis=0)
    assert found["average"]["accuracy"] == pytest.approx(np.mean(average.argmax(axis=1) == labels))
    assert found["average"]["loss"] == pytest.approx(-np.log(average[np.arange(6), labels]).mean(), rel=1e-5)
    assert list(evaluation.evaluate(ki.inference_model(model), (x, labels))) == ["main"]
    compiled = evaluation.evaluate_compiled(ki.compile_model(model), Batches(x, labels))
    for head in model.output_names:
        assert compiled[head]["loss"] == pytest.approx(found[head]["loss"], rel=1e-5)


def test_an_ensemble_averages_softmaxes_of_networks_of_any_size_and_preprocessing(originals):
    first, second = build(1), build(2, size=20, preprocessing="caffe", heads=("aux1", "main"))
    found = evaluation.predict([first, second], iter(originals), crops=10)  # data that can be read once
    assert list(found.probabilities) == ["main", "aux1"]
    blue_first = [evaluation.crops(image, 10, 20)[..., ::-1] - (104, 117, 123) for image, _ in originals]
    of_second = np.array([softmaxes(second, crops)[1].mean(axis=0) for crops in blue_first])
    expected = (by_hand(first, originals, 10) + of_second) / 2
    np.testing.assert_allclose(found.probabilities["main"], expected, atol=TOLERANCE)


def test_logits_are_turned_into_probabilities(originals):
    softmaxes, logits = build(1), build(1, activation="linear")
    logits.set_weights(softmaxes.get_weights())
    found = evaluation.predict(logits, originals, crops=10).probabilities["aux2"]
    np.testing.assert_allclose(found, by_hand(softmaxes, originals, 10, head=2), atol=TOLERANCE)


def test_a_model_of_one_head_is_scored_under_its_name(model, originals):
    found = evaluation.evaluate(ki.inference_model(model, "aux1"), originals, crops=10)
    assert found == {"aux1": pytest.approx(evaluation.evaluate(model, originals, crops=10)["aux1"])}


def test_without_crops_preprocessed_batches_give_what_keras_counts(model):
    random = np.random.default_rng(0)
    images = random.uniform(-1, 1, (11, SIZE, SIZE, 3)).astype("float32")
    labels = random.integers(0, CLASSES, 11)
    batches = [(images[:8], labels[:8]), (images[8:], np.eye(CLASSES)[labels[8:]])]  # integers and one-hot
    scores = evaluation.evaluate([model], batches)
    for metrics, rows in zip(scores.values(), softmaxes(model, images)):
        assert metrics["accuracy"] == np.mean(rows.argmax(axis=1) == labels)
        assert metrics["loss"] == pytest.approx(-np.log(rows[range(11), labels]).mean(), rel=1e-4)
    # However the images come, they are computed in the same batches, and so exactly alike.
    assert evaluation.evaluate([model], (images, labels)) == scores
    # In other batches XLA adds in another order, on JAX; TensorFlow computes each row alike.
    rounding = 0 if keras.backend.backend() == "tensorflow" else TOLERANCE
    for head, found in evaluation.evaluate([model], (images, labels), batch_size=4).items():
        assert found["accuracy"] == scores[head]["accuracy"]
        assert found["loss"] == pytest.approx(scores[head]["loss"], rel=rounding, abs=0)


def test_grey_images_arrays_and_batches_are_taken(model):
    grey = np.random.default_rng(0).integers(0, 256, (5, 30, 20, 1), dtype="uint8")
    labels = np.arange(5) % CLASSES
    expected = by_hand(model, [(image.repeat(3, axis=-1), 0) for image in grey], 10)
    for data in ((grey, labels), [(grey[:3], labels[:3]), (grey[3:], labels[3:])], zip(grey, labels)):
        found = evaluation.predict(model, data, crops=10)
        np.testing.assert_allclose(found.probabilities["main"], expected, atol=TOLERANCE)
        assert found.labels.tolist() == labels.tolist()


def test_memory_grows_with_neither_crops_nor_images(model, monkeypatch):
    batches, alive, references = [], [], []
    forward = model.predict_on_batch
    monkeypatch.setattr(model, "predict_on_batch", lambda x: (batches.append(len(x)), forward(x))[1])

    class Pixels(np.ndarray):  # an array that can be referred to weakly
        pass

    def images():
        for index in range(9):
            image = np.zeros((20 + index, 30, 3), "uint8").view(Pixels)
            references.append(weakref.ref(image))
            yield image, 0
            del image
            gc.collect()
            alive.append(sum(reference() is not None for reference in references))

    evaluation.predict(model, images(), crops=144, batch_size=50)
    assert batches == [50, 50, 44] * 9
    assert max(alive) <= 1


def with_nan(model, layer=-1):
    """Returns the model with one weight that is not a number."""
    weight = model.weights[layer]
    values = np.array(weight)
    values.flat[0] = np.nan
    weight.assign(values)
    return model


@pytest.mark.parametrize("options", [{}, {"crops": 10}, {"top": (1, 2)}])
@pytest.mark.parametrize("ensemble", [False, True])
def test_weights_that_are_not_numbers_are_never_scored(originals, options, ensemble):
    models = [build(1), with_nan(build(2))] if ensemble else with_nan(build(1))
    examples = originals if "crops" in options else (np.zeros((3, SIZE, SIZE, 3), "float32"), np.zeros(3, int))
    with pytest.raises(InputError, match=r"weights must be finite, and \S+ holds 1 values? that"):
        evaluation.evaluate(models, examples, **options)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_that_holds_no_numbers_is_never_scored(model, value):
    images = np.zeros((5, SIZE, SIZE, 3), "float32")
    images[3, 2, 2, 1] = value
    for options in ({}, {"crops": 10, "batch_size": 20}, {"top": (1, 2), "batch_size": 2}):
        with pytest.raises(InputError, match=r"finite numbers|must be numbers"):
            evaluation.evaluate(model, (images, np.zeros(5, int)), **options)


def test_answers_that_overflow_are_never_scored(monkeypatch, model):
    answer = np.full((5, CLASSES), 0.25)
    answer[3] = np.nan
    monkeypatch.setattr(model, "predict_on_batch", lambda x: [answer] * 3)
    with pytest.raises(InputError, match=r"must be numbers.* Received: not-a-number for image 3"):
        evaluation.predict(model, (np.zeros((5, SIZE, SIZE, 3)), np.zeros(5, int)))


@pytest.mark.parametrize("labels", [np.zeros(4, "uint8"), np.zeros((4, 1), "float32"), np.eye(6)[[0, 0, 0, 0]]])
@pytest.mark.parametrize("metric", [losses.SparseCategoricalAccuracy(), losses.SparseTopKCategoricalAccuracy(5)])
def test_metrics_count_what_is_not_a_number_as_wrong(metric, labels):
    answers = np.eye(6, dtype="float32")[[0, 0, 0, 0]]
    answers[[1, 3]] = np.nan  # of which `argmax` makes class 0
    metric.reset_state()
    metric.update_state(labels, answers)
    assert float(metric.result()) == 0.5


IMAGE = np.zeros((9, 9, 3), "uint8")


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ([(IMAGE, 0)], {"crops": 7}, r"`crops` must be 1, 10 .* Received: crops=7"),
        ([], {}, r"there are none. Received: empty `examples`"),
        ([(IMAGE, 4)], {}, r"integers from 0 to 3, or one-hot.* Received: labels from 4 to 4"),
        ([(np.zeros((9, 9, 4)), 0)], {}, r"must have the 3 channels .*\. Received: image.shape=\(9, 9, 4\)"),
        ([IMAGE], {}, r"must give pairs of image and label. Received: ndarray"),
        ((np.zeros((6, 9, 9, 3)), np.zeros(5)), {}, r"one label for each image\. Received: 6 images, 5 labels"),
        ((np.zeros((6, 9, 9, 3)), np.zeros(7)), {}, r"one label for each image\. Received: 6 images, 7 labels"),
        ([(IMAGE, 0)], {"batch_size": 0}, r"at least 1\. Received: batch_size=0"),
    ],
)
def test_wrong_data_are_refused(model, data, options, message):
    with pytest.raises(InputError, match=message):
        evaluation.predict(model, data, **{"crops": 10, **options})


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([], "at least one model"),
        ([{}, {"classes": 5}], r"the same classes in the same order. Received: models of \[4, 5\] classes"),
        ([{"class_names": list("abcd")}, {"class_names": list("abdc")}], "called differently"),
        ([{"heads": ("main",)}, {"heads": ("aux1",)}], r"a head in common.* outputs \[\['main'\], \['aux1'\]\]"),
        ([{"size": (10, 12)}], r"Crops are squares.* input_shape=\(10, 12, 3\)"),
    ],
)
def test_wrong_models_are_refused(models, message, originals):
    with pytest.raises(InputError, match=message):
        evaluation.predict([build(1, **options) for options in models], originals, crops=1)


@pytest.mark.tensorflow
def test_original_images_of_a_split_are_untouched(image_folder):
    from PIL import Image

    from keras_inception import data

    found = data.load(str(image_folder), architecture="googlenet_small")
    pairs = [(image.numpy(), int(label)) for image, label in found.originals("test")]
    assert len(pairs) == found.sizes["test"] == 4
    files = {np.asarray(Image.open(path)).tobytes() for path in image_folder.rglob("*.png")}
    assert all((image.shape, image.dtype) == ((36, 40, 3), np.uint8) for image, _ in pairs)
    assert all(image.tobytes() in files for image, _ in pairs)
    assert [label for _, label in pairs] == [int(label) for _, labels in found.test for label in labels]
    assert data.load(str(image_folder), architecture="googlenet_small", test_fraction=0).originals("test") is None
