"""Scores of crops and ensembles, against sums by hand, and what they keep in memory."""

import gc
import weakref

import keras
import numpy as np
import pytest
from linear_network import CLASSES, SIZE, build

import keras_inception as ki
from keras_inception import evaluation

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
    scores = evaluation.evaluate(model, originals, crops=10, top_ks=(1, 2))
    for index, head in enumerate(("main", "aux1", "aux2")):
        rows = by_hand(model, originals, 10, head=index)
        best = np.argsort(-rows, axis=1)
        assert set(scores[head]) == {"loss", "accuracy", "top_2_accuracy"}
        assert scores[head]["accuracy"] == np.mean(best[:, 0] == labels)
        assert scores[head]["top_2_accuracy"] == np.mean((best[:, :2] == labels[:, None]).any(axis=1))
        assert scores[head]["loss"] == pytest.approx(-np.log(rows[range(6), labels]).mean(), rel=1e-4)


def test_an_ensemble_averages_softmaxes_of_networks_of_any_size_and_preprocessing(originals):
    first, second = build(1), build(2, size=20, preprocessing="caffe", heads=("aux1", "main"))
    found = evaluation.predict([first, second], originals, crops=10)
    assert list(found.probabilities) == ["main", "aux1"]
    blue_first = [evaluation.crops(image, 10, 20)[..., ::-1] - (104, 117, 123) for image, _ in originals]
    of_second = np.array([softmaxes(second, crops)[1].mean(axis=0) for crops in blue_first])
    expected = (by_hand(first, originals, 10) + of_second) / 2
    np.testing.assert_allclose(found.probabilities["main"], expected, atol=TOLERANCE)


def test_an_ensemble_of_one_pass_data_is_scored():
    models, random = [build(1), build(2)], np.random.default_rng(0)
    images = [random.integers(0, 256, (20, 30, 3), dtype="uint8") for _ in range(3)]
    found = evaluation.predict(models, zip(images, [0, 1, 2]), crops=10)
    pairs = list(zip(images, [0, 1, 2]))
    expected = (by_hand(models[0], pairs, 10) + by_hand(models[1], pairs, 10)) / 2
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
    for head, found in evaluation.evaluate([model], (images, labels), batch_size=4).items():
        assert found == pytest.approx(scores[head], rel=TOLERANCE)


def test_grey_images_arrays_and_batches_are_taken(model):
    grey = np.random.default_rng(0).integers(0, 256, (5, 30, 20, 1), dtype="uint8")
    labels = np.arange(5) % CLASSES
    expected = by_hand(model, [(image.repeat(3, axis=-1), 0) for image in grey], 10)
    for data in ((grey, labels), [(grey[:3], labels[:3]), (grey[3:], labels[3:])], zip(grey, labels)):
        found = evaluation.predict(model, data, crops=10)
        np.testing.assert_allclose(found.probabilities["main"], expected, atol=TOLERANCE)
        assert found.labels.tolist() == labels.tolist()


def test_memory_grows_with_neither_crops_nor_images(model, monkeypatch):
    batches, alive = [], []
    forward = model.predict_on_batch
    monkeypatch.setattr(model, "predict_on_batch", lambda x: (batches.append(len(x)), forward(x))[1])

    class Pixels(np.ndarray):  # an array that can be referred to weakly
        pass

    def images():
        references = []
        for index in range(9):
            image = np.zeros((20 + index, 30, 3), "uint8").view(Pixels)
            references.append(weakref.ref(image))
            yield image, 0
            del image
            gc.collect()
            alive.append(sum(reference() is not None for reference in references))

    evaluation.predict(model, images(), crops=144, batch_size=32)
    assert batches == [32] * 40 + [16]  # 9 images of 144 crops
    assert max(alive) == 1


def test_wrong_models_and_data_are_refused(model, originals):
    def predict(data, models=model, **options):
        return evaluation.predict(models, data, **{"crops": 10, **options})

    with pytest.raises(ValueError, match=r"`crops` must be 1, 10 .* Received: crops=7"):
        predict(originals, crops=7)
    with pytest.raises(ValueError, match=r"there are none. Received: empty `examples`"):
        predict([])
    with pytest.raises(ValueError, match=r"integers from 0 to 3, or one-hot.* Received: labels from 4 to 4"):
        predict([(originals[0][0], 4)])
    with pytest.raises(ValueError, match=r"must have the 3 channels .*\. Received: image.shape=\(9, 9, 4\)"):
        predict([(np.zeros((9, 9, 4)), 0)])
    with pytest.raises(ValueError, match=r"must give pairs of image and label. Received: ndarray"):
        predict([originals[0][0]])
    with pytest.raises(ValueError, match=r"at least 1\. Received: batch_size=0"):
        predict(originals, batch_size=0)
    with pytest.raises(ValueError, match="at least one model"):
        predict(originals, [])
    with pytest.raises(ValueError, match=r"the same classes in the same order. Received: models of \[4, 5\] classes"):
        predict(originals, [model, build(2, classes=5)])
    with pytest.raises(ValueError, match="called differently"):
        predict(originals, [build(1, class_names=list("abcd")), build(2, class_names=list("abdc"))])
    with pytest.raises(ValueError, match=r"a head in common.* Received: outputs \[\['main'\], \['aux1'\]\]"):
        predict(originals, [build(1, heads=("main",)), build(2, heads=("aux1",))])


def test_a_network_of_oblong_images_has_no_crops(originals):
    image = keras.Input((10, 12, 3))
    x = keras.layers.Dense(2, activation="softmax", name="main")(keras.layers.Flatten()(image))
    with pytest.raises(ValueError, match=r"Crops are squares.* input_shape=\(10, 12, 3\)"):
        evaluation.predict(ki.InceptionModel(image, x), originals, crops=1)


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


@pytest.mark.parametrize("labels", [5, 7])
def test_images_and_labels_must_be_as_many(labels):
    pair = (np.zeros((6, 4, 4, 3)), np.zeros(labels, int))
    with pytest.raises(ValueError, match=rf"one label for each image\. Received: 6 images, {labels} labels"):
        list(evaluation.one_by_one(pair))
