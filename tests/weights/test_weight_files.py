"""Files of published weights: their formats, what is wrong with them, where they come from and where they are kept."""

import dataclasses
import functools
import hashlib
import socket
import sys
import tarfile

import keras
import numpy as np
import published_networks as published
import pytest

import keras_inception as ki
from keras_inception.errors import DownloadError, InputError, MissingFileError, MissingPackageError
from keras_inception.weights import SOURCES, caffe, load_published_weights, slim, source_of

TRUNK = {"include_top": False, "input_shape": (None, None, 3)}


def trunk(source):
    return ki.GoogLeNet(architecture=SOURCES[source].architecture, **TRUNK)


@pytest.fixture(scope="module")
def untouched():
    """Returns `untouched(source)`, a trunk for tests of what is refused; `refuses` checks that it stays as it is."""
    return functools.cache(trunk)


def refuses(model, source, path, error, message):
    """Checks that the file is refused with that message and that the model is left as it was."""
    before, preprocessing = [np.array(weight) for weight in model.get_weights()], model.preprocessing
    with pytest.raises(error, match=message):
        load_published_weights(model, source, path)
    for found, expected in zip(model.get_weights(), before):
        np.testing.assert_array_equal(found, expected)
    assert model.preprocessing == preprocessing


def same_weights(model, expected):
    layers = [layer for layer in model.layers if layer.weights]
    for layer in layers:
        for found, value in zip(layer.get_weights(), expected.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(found, value)
    return bool(layers)


# ------------------------------------------------------------------------------------------------------ what is loaded


@pytest.mark.parametrize("source", SOURCES)
def test_every_weight_of_the_network_has_its_tensor(loaded, tensors, source):
    model, layout = loaded(source), SOURCES[source].tensors()
    assert model.preprocessing == {"bvlc": "caffe"}.get(source, "inception")
    assert {f"{layer.name}/{weight.name}" for layer in model.layers for weight in layer.weights} == set(layout)
    names = [tensor.name for tensor in layout.values()]
    assert len(set(names)) == len(names)
    published_names = {
        name if isinstance(value, np.ndarray) else f"{name}[{index}]"
        for name, value in tensors(source).items()
        for index in range(1 if isinstance(value, np.ndarray) else len(value))
    }
    assert set(names) == {name for name in published_names if not name.endswith("num_batches_tracked")}


def test_networks_without_heads_take_what_they_have(loaded, caffemodel):
    whole = loaded("bvlc")
    for arguments in (TRUNK, {"aux_heads": ["aux2"]}):
        assert same_weights(load_published_weights(ki.GoogLeNet(**arguments), "bvlc", caffemodel), whole)


# ------------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("encoding", ["layers", "layer"])
@pytest.mark.parametrize("header", ["legacy", "shape"])
@pytest.mark.parametrize("values", ["float", "double", "unpacked"])
def test_caffemodel_is_read_in_every_encoding(tmp_path, encoding, header, values):
    draws = published.Draws(0)
    layers = {
        "conv1/7x7_s2": [draws.normal(4, 3, 7, 7), draws.normal(4)],
        "loss3/classifier": [draws.normal(5, 9), draws.normal(5)],
        "relu": [],
    }
    path = tmp_path / "small.caffemodel"
    layers_with_blobs = {name: blobs for name, blobs in layers.items() if blobs}
    path.write_bytes(published.caffemodel(layers_with_blobs, encoding=encoding, header=header, values=values))
    found = caffe.read(path)
    assert set(found) == {f"{name}[{index}]" for name in layers_with_blobs for index in (0, 1)}
    for name, blobs in layers_with_blobs.items():
        for index, blob in enumerate(blobs):
            array = found[f"{name}[{index}]"]
            assert array.dtype == "float32"
            assert array.shape == (blob.shape if header == "shape" else (1,) * (4 - blob.ndim) + blob.shape)
            np.testing.assert_array_equal(array.reshape(blob.shape), blob)


def test_blob_that_does_not_fill_its_shape_is_refused(tmp_path):
    blob = published._bytes(7, published._bytes(1, b"\x02\x03")) + published._bytes(5, np.zeros(5, "<f4").tobytes())
    layer = published._bytes(1, b"conv1/7x7_s2") + published._bytes(7, blob)
    (tmp_path / "short.caffemodel").write_bytes(published._bytes(100, layer))
    with pytest.raises(InputError, match=r"blob 0 of the layer 'conv1/7x7_s2' with shape=\(2, 3\) and 5 values"):
        caffe.read(tmp_path / "short.caffemodel")


@pytest.mark.parametrize("form", ["second format", "index", "archive", "archive of the second format"])
def test_checkpoint_is_read_in_every_form(tmp_path, form):
    tensorflow = pytest.importorskip("tensorflow", reason="checkpoints are written by TensorFlow")
    variables = {"InceptionV1/a/weights": np.arange(6, dtype="float32"), "global_step": np.int64(7)}
    path = tmp_path / "inception_v1.ckpt"
    published.write_checkpoint(tensorflow, path, variables, version=1 if form == "archive" else 2)
    given = {"second format": path, "index": tmp_path / "inception_v1.ckpt.index"}.get(form)
    if given is None:
        given = tmp_path / "inception_v1_2016_08_28.tar.gz"
        with tarfile.open(given, "w:gz") as archive:
            for file in sorted(tmp_path.glob("inception_v1.ckpt*")):
                archive.add(file, f"./{file.name}")
        for file in tmp_path.glob("inception_v1.ckpt*"):
            file.unlink()
    found = slim.read(given)
    assert set(found) == set(variables)
    np.testing.assert_array_equal(found["InceptionV1/a/weights"], variables["InceptionV1/a/weights"])


def test_archive_cannot_write_outside_its_folder(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "evil.ckpt").write_text("no checkpoint")
    with tarfile.open(tmp_path / "inner" / "archive.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "evil.ckpt", "../../../../evil_outside.ckpt")
    with pytest.raises(InputError, match=r"would be extracted to .* outside the destination"):
        slim.read(tmp_path / "inner" / "archive.tar.gz")
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["archive.tar.gz", "evil.ckpt", "inner"]


# -------------------------------------------------------------------------------------------------- all weights or none


def changed(layers):
    """Returns what makes the bytes of BVLC's file, some of its layers changed, those without blobs left out."""

    def content(tensors):
        return published.caffemodel({name: blobs for name, blobs in (tensors("bvlc") | layers).items() if blobs})

    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda tensors: changed({})(tensors)[:1_000_000], "is cut short or is no `.caffemodel`.*broken.caffemodel"),
        (lambda tensors: b"<html><body>404 Not Found</body></html>", "is cut short or is no `.caffemodel`"),
        (lambda tensors: b"", r"lacks 114 of the model's weights: `conv1/7x7_s2\[0\]` \(for `conv1_7x7_s2/kernel`\)"),
        (
            changed({f"inception_5b/{branch}": [] for branch in published.CAFFE_BRANCHES}),
            r"Nothing was loaded. The file lacks 12 .*`inception_5b/1x1\[0\]` \(for `inception_5b_1x1/.*and 7 more",
        ),
        (
            changed({"conv2/3x3": [np.zeros((192, 63, 3, 3), "float32"), np.zeros(192, "float32")]}),
            r"Nothing was loaded. 1 have another shape: `conv2/3x3\[0\]` gives \(3, 3, 63, 192\), and "
            r"`conv2_3x3/kernel` is \(3, 3, 64, 192\).*source=\"bvlc\", path=.*broken.caffemodel",
        ),
    ],
    ids=["cut short", "a page", "empty", "layers missing", "layers misshapen"],
)
def test_files_that_do_not_hold_the_network_are_refused(untouched, tensors, tmp_path, content, message):
    path = tmp_path / "broken.caffemodel"
    path.write_bytes(content(tensors))
    refuses(untouched("bvlc"), "bvlc", path, InputError, message)


def test_classifier_at_odds_with_itself_is_refused(tensors, tmp_path):
    kernel, bias = tensors("bvlc")["loss3/classifier"]
    path = tmp_path / "odd.caffemodel"
    path.write_bytes(changed({"loss3/classifier": [kernel, bias[:500]]})(tensors))
    model = ki.GoogLeNet(aux_heads=False, input_shape=(64, 64, 3))
    refuses(model, "bvlc", path, InputError, r"`loss3/classifier\[1\]` gives \(500,\), and `loss3_classifier/bias` is")


def test_foreign_checkpoints_are_refused(untouched, tmp_path):
    tensorflow = pytest.importorskip("tensorflow", reason="checkpoints are written by TensorFlow")
    model = untouched("tf_slim")
    path = tmp_path / "other.ckpt"
    published.write_checkpoint(tensorflow, path, {"InceptionV3/weights": np.zeros(3, "float32")})
    message = r"lacks 228 of .*`InceptionV1/Conv2d_1a_7x7/weights` \(for `conv1_7x7_s2/kernel`\)"
    refuses(model, "tf_slim", path, InputError, message)
    path.write_bytes(path.read_bytes()[:40])
    refuses(model, "tf_slim", path, InputError, "is cut short or is no TensorFlow checkpoint.*other.ckpt")
    path.write_text("<html>404</html>")
    refuses(model, "tf_slim", path, InputError, "is no TensorFlow checkpoint")


@pytest.mark.parametrize("kept", [0, 300, None], ids=["empty", "cut short", "missing"])
def test_a_checkpoint_without_all_of_its_data_is_refused(untouched, tmp_path, kept):
    tensorflow = pytest.importorskip("tensorflow", reason="checkpoints are written by TensorFlow")
    path = tmp_path / "slim.ckpt"
    variables = {"InceptionV1/Conv2d_1a_7x7/BatchNorm/beta": np.arange(64, dtype="float32"), "step": np.int64(7)}
    published.write_checkpoint(tensorflow, path, variables, version=2)
    data = tmp_path / "slim.ckpt.data-00000-of-00001"
    content = data.read_bytes()
    data.unlink()
    if kept is not None:
        data.write_bytes(content[: kept and len(content) - 8])
    refuses(
        untouched("tf_slim"), "tf_slim", path, InputError, "is cut short or is no TensorFlow checkpoint: .*slim.ckpt"
    )


def test_broken_archives_are_refused(untouched, tmp_path):
    path = tmp_path / "inception_v1.tar.gz"
    model = untouched("tf_slim")
    path.write_text("<html>404</html>")
    refuses(model, "tf_slim", path, InputError, "is cut short, damaged, or no `.tar.gz` archive")
    (tmp_path / "flowers.txt").write_text("roses")
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "flowers.txt", "flowers.txt")
    refuses(model, "tf_slim", path, InputError, "must hold a checkpoint")
    (tmp_path / "x.ckpt").write_bytes(np.random.RandomState(0).bytes(200_000))
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "x.ckpt", "x.ckpt")
    path.write_bytes(path.read_bytes()[:100_000])
    refuses(model, "tf_slim", path, InputError, "is cut short, damaged, or no `.tar.gz` archive")


@pytest.fixture
def holding(monkeypatch, tmp_path):
    """Returns `holding(source, tensors)`, the path of a file of which the source's reader says that it holds these."""

    def holding(name, tensors):
        monkeypatch.setitem(SOURCES, name, dataclasses.replace(SOURCES[name], read=lambda path: tensors))
        (tmp_path / "given").touch()
        return tmp_path / "given"

    return holding


def test_state_dict_of_another_network_is_refused(holding, tensors):
    arrays = dict(tensors("torchvision"))
    arrays["inception4e.branch2.1.conv.weight"] = np.zeros((320, 160), "float32")
    del arrays["aux2.fc1.bias"]
    path = holding("torchvision", arrays)
    model = ki.GoogLeNet(architecture="inception_v1_torchvision", input_shape=(64, 64, 3))
    message = r"`inception4e.branch2.1.conv.weight` has the shape \(320, 160\), which no such network has"
    refuses(model, "torchvision", path, InputError, message)
    del arrays["inception4e.branch2.1.conv.weight"]
    message = r"lacks 2 .*`inception4e.branch2.1.conv.weight`.*`aux2.fc1.bias` \(for `loss2_fc/bias`\)"
    refuses(model, "torchvision", path, InputError, message)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("InceptionV1/Mixed_4d/Branch_0/Conv2d_0a_1x1/weights", np.nan, "holds 1 values that are NaN or infinite"),
        ("InceptionV1/Conv2d_1a_7x7/BatchNorm/beta", -np.inf, "holds 1 values that are NaN or infinite"),
        ("InceptionV1/Conv2d_1a_7x7/BatchNorm/moving_mean", 1e300, "holds 1 values that are NaN or infinite"),
        ("InceptionV1/Mixed_5c/Branch_3/Conv2d_0b_1x1/BatchNorm/moving_variance", -1e-6, "holds variances below 0"),
    ],
)
def test_values_with_which_no_network_computes_are_refused_and_named(untouched, holding, tensors, name, value, message):
    array = tensors("tf_slim")[name].astype("float64")
    array.flat[-1] = value
    path = holding("tf_slim", {**tensors("tf_slim"), name: array})
    refuses(untouched("tf_slim"), "tf_slim", path, InputError, rf"Nothing was loaded\. `{name}` {message}")


def test_renamed_classifiers_are_loaded_when_their_names_are_told(holding, tensors):
    arrays = {name.replace("fc.", "head.1.") if name.startswith("fc.") else name: array
              for name, array in tensors("torchvision").items()}  # fmt: skip
    path = holding("torchvision", arrays)
    model = ki.GoogLeNet(architecture="inception_v1_torchvision", input_shape=(64, 64, 3), aux_heads=False)
    message = (
        r"lacks 2 .*`fc\.weight`.*It holds besides: .*`head\.1\.weight` of shape \(1000, 1024\).*Say with `rename`"
    )
    refuses(model, "torchvision", path, InputError, message)
    load_published_weights(model, "torchvision", path, rename={"fc": "head.1"})
    np.testing.assert_array_equal(model.get_layer("loss3_classifier").get_weights()[0], arrays["head.1.weight"].T)
    with pytest.raises(
        InputError, match=r"must name layers of torchvision, such as `fc`, `aux1\.fc2`.*\{'head': 'fc'\}"
    ):
        load_published_weights(model, "torchvision", path, rename={"head": "fc"})


def test_models_that_the_weights_do_not_fit_are_refused(caffemodel):
    model = ki.GoogLeNet(input_shape=(299, 299, 3))
    refuses(
        model, "bvlc", caffemodel, InputError, r"`aux_heads=False`\) does without these\. They read maps of 4x4 pixels"
    )
    model = ki.GoogLeNet(include_top=False, input_shape=(64, 64, 1))
    refuses(model, "bvlc", caffemodel, InputError, "The published networks see images of 3 channels")
    message = r'graph of `GoogLeNet\(architecture="inception_v1_slim"\)`.*architecture=\'googlenet\''
    refuses(model, "tf_slim", caffemodel, InputError, message)
    model = ki.GoogLeNet(include_top=False, input_shape=(64, 64, 3), width=0.5)
    refuses(model, "bvlc", caffemodel, InputError, "architecture='googlenet_0.5'")
    with pytest.raises(InputError, match="architecture=None"):
        load_published_weights(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), "bvlc", caffemodel)


def test_unknown_sources_and_files_are_refused(untouched, tmp_path):
    model = untouched("bvlc")
    message = "`source` must be one of bvlc, tf_slim, torchvision. Received: source='caffe'"
    refuses(model, "caffe", None, InputError, message)
    refuses(model, "bvlc", tmp_path / "none.caffemodel", MissingFileError, "none.caffemodel")
    refuses(model, "bvlc", tmp_path, MissingFileError, "must be a file of BVLC Caffe's")  # a folder


def test_missing_pytorch_is_named(untouched, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "file").touch()
    message = "needs the module `torch`, which is not installed. Run `pip install torch`"
    refuses(untouched("torchvision"), "torchvision", tmp_path / "file", MissingPackageError, message)


# ---------------------------------------------------------------------------------------------- downloads and the cache


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """The folder of models in an empty cache of Keras's."""
    (tmp_path / "keras" / "models").mkdir(parents=True)
    monkeypatch.setattr(keras.utils, "get_file", functools.partial(keras.utils.get_file, cache_dir=tmp_path / "keras"))
    return tmp_path / "keras" / "models"


@pytest.fixture
def publish(monkeypatch):
    """Returns `publish(source, path)`, which puts a file of this computer in the place of the publisher's."""

    def publish(name, path, digest=None):
        source = SOURCES[name]
        if source.hash_algorithm and digest is None:
            digest = hashlib.new(source.hash_algorithm, path.read_bytes()).hexdigest()
        changed = dataclasses.replace(source, address=path.as_uri(), hash_start=digest or "")
        monkeypatch.setitem(SOURCES, name, changed)

    return publish


def test_addresses_and_hashes_are_the_publishers():
    known = {name: (source.address, source.hash_algorithm, source.hash_start) for name, source in SOURCES.items()}
    assert known == {
        "bvlc": (
            "http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel",
            "sha1",
            "405fc5acd08a3bb12de8ee5e23a96bec22f08204",
        ),
        "tf_slim": ("http://download.tensorflow.org/models/inception_v1_2016_08_28.tar.gz", "", ""),
        "torchvision": ("https://download.pytorch.org/models/googlenet-1378be20.pth", "sha256", "1378be20"),
    }


def test_imagenet_weights_are_downloaded_once(cache, publish, caffemodel, loaded, tmp_path):
    copy = tmp_path / "bvlc_googlenet.caffemodel"
    copy.write_bytes(caffemodel.read_bytes())
    publish("bvlc", copy)
    first = ki.GoogLeNet(weights="imagenet")
    assert same_weights(first, loaded("bvlc"))
    assert first.preprocessing == "caffe"
    assert first.compiled
    assert [file.name for file in cache.iterdir()] == ["bvlc_googlenet.caffemodel"]
    copy.unlink()  # the publisher is not needed any more
    assert same_weights(ki.GoogLeNet(weights="imagenet", aux_heads=False), loaded("bvlc"))


def test_downloaded_archive_of_slim_is_read(cache, publish, files, loaded, tmp_path):
    archive = tmp_path / "inception_v1_2016_08_28.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as file:
        file.add(files("tf_slim"), "inception_v1.ckpt")
    publish("tf_slim", archive)
    model = ki.GoogLeNet(weights="imagenet", architecture="inception_v1_slim", include_top=False, pooling="avg")
    assert same_weights(model, loaded("tf_slim"))


def test_wrong_hash_is_refused(untouched, cache, publish, caffemodel, tmp_path):
    publish("bvlc", caffemodel, digest="405fc5acd08a3bb12de8ee5e23a96bec22f08204")
    received = hashlib.sha1(caffemodel.read_bytes()).hexdigest()
    message = rf"{caffemodel.as_uri()} must have a sha1 of 405fc5.*weights\(model, \"bvlc\", path\).*sha1={received}"
    refuses(untouched("bvlc"), "bvlc", None, InputError, message)
    assert list(cache.iterdir()) == []


def test_file_of_a_wrong_hash_in_the_cache_is_downloaded_again(cache, publish, caffemodel, loaded):
    (cache / "bvlc_googlenet.caffemodel").write_bytes(b"cut short by a killed process")
    publish("bvlc", caffemodel)
    assert same_weights(load_published_weights(trunk("bvlc"), "bvlc"), loaded("bvlc"))


def test_download_that_is_no_network_is_not_kept(untouched, cache, publish, tmp_path):
    page = tmp_path / "inception_v1_2016_08_28.tar.gz"
    page.write_text("<html>Log in to the hotel's network</html>")
    publish("tf_slim", page)
    message = rf"What {page.as_uri()} sent is not the published file and was not kept.*\"tf_slim\", path"
    refuses(untouched("tf_slim"), "tf_slim", None, InputError, message)
    assert list(cache.iterdir()) == []


def test_without_a_network_the_way_out_is_told(untouched, cache, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}/bvlc_googlenet.caffemodel"
    monkeypatch.setitem(SOURCES, "bvlc", dataclasses.replace(SOURCES["bvlc"], address=closed))
    message = rf"of BVLC Caffe could not be downloaded: .*Download {closed} in another way.*\(model, \"bvlc\", path\)"
    refuses(untouched("bvlc"), "bvlc", None, DownloadError, message)
    with pytest.raises(DownloadError, match="could not be downloaded"):
        ki.GoogLeNet(weights="imagenet")
    assert list(cache.iterdir()) == []


def test_imagenet_weights_exist_for_three_architectures():
    names = ("googlenet", "inception_v1_slim", "inception_v1_torchvision")
    assert [source_of("imagenet", name).name for name in names] == ["bvlc", "tf_slim", "torchvision"]
    with pytest.raises(InputError, match=r'`weights="imagenet"` needs .*googlenet, .*architecture=\'googlenet_bn\''):
        ki.GoogLeNet(weights="imagenet", architecture="googlenet_bn")
