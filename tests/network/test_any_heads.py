"""Networks of other heads than the paper's: one on 4c, four at four places, a narrower trunk, a record of one's own."""

import dataclasses
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from tiny_network import TINY, images_and_labels

import keras_inception as ki
from keras_inception import architectures
from keras_inception.architectures import WORDS, Architecture, AuxiliaryHead, Conv, Convolution, Inception, MaxPool
from keras_inception.network import cost
from keras_inception.network.logs import logs_by_head
from keras_inception.plots.network import graph

# The paper's places for heads in a trunk that is traced in a second.
MODULES = tuple(Inception(f"inception_{module}", 8, 8, 8, 8, 8, 8) for module in ("4a", "4c", "4e"))
TRUNK = dataclasses.replace(TINY, name="short", rows=(*TINY.rows[:2], *MODULES), auxiliary_heads=())
SMALL = {"conv": 4, "dense": 8}
ONE = dataclasses.replace(
    TRUNK, name="one", auxiliary_heads=(AuxiliaryHead("middle", "inception_4c", "loss7", loss_weight=0.4, **SMALL),)
)
FOUR = dataclasses.replace(
    TRUNK,
    name="four",
    auxiliary_heads=(
        AuxiliaryHead("late", "inception_4e", "loss6", loss_weight=0.1, **SMALL),
        AuxiliaryHead("stem", "pool1_3x3_s2", "loss4", loss_weight=0.0, **SMALL),
        AuxiliaryHead("twin", "inception_4a", "loss5", pool="adaptive_4x4", loss_weight=2.0, **SMALL),
        AuxiliaryHead("aux1", "inception_4a", "loss1", **SMALL),
    ),
)
HEADS = {"one": ["main", "middle"], "four": ["main", "late", "stem", "twin", "aux1"]}
WEIGHTS = {"one": [1.0, 0.4], "four": [1.0, 0.1, 0.0, 2.0, 0.3]}


X, Y = images_and_labels(6)


def build(record):
    return ki.GoogLeNet(architecture=record, classes=2, class_names=["ant", "bee"])


@pytest.fixture(scope="module", params=[ONE, FOUR], ids=["one", "four"])
def trained(request):
    """A network after one step of `fit`; its record, its classifiers' weights before that step, and the step's logs."""
    model = build(request.param)
    classifiers = [f"{head.prefix}_classifier" for head in request.param.auxiliary_heads]
    before = [np.array(model.get_layer(name).get_weights()[0]) for name in classifiers]
    logs = model.fit(X, Y, verbose=0).history
    after = [model.get_layer(name).get_weights()[0] for name in classifiers]
    changed = [not np.array_equal(*weights) for weights in zip(before, after)]
    return SimpleNamespace(model=model, record=request.param, logs=logs, changed=changed)


@pytest.mark.slow
def test_a_network_of_other_heads_learns_with_their_weights(trained):
    model, record = trained.model, trained.record
    heads, weights = HEADS[record.name], WEIGHTS[record.name]
    assert (model.name, model.architecture, model.output_names) == (record.name, record, heads)
    assert model.get_compile_config()["loss_weights"] == weights
    total = sum(weight * trained.logs[f"{head}_loss"][0] for head, weight in zip(heads, weights))
    assert trained.logs["loss"][0] == pytest.approx(total, rel=1e-5)
    assert trained.changed == [weight > 0 for weight in weights[1:]]


def test_its_heads_and_weights_travel_in_the_keras_file(trained, tmp_path):
    trained.model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.architecture == trained.record
    for found, expected in zip(loaded(X), trained.model(X)):
        np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (found, expected)), rtol=1e-5, atol=1e-6)
    ki.compile_model(loaded)
    assert loaded.get_compile_config()["loss_weights"] == WEIGHTS[trained.record.name]


@pytest.mark.tensorflow
def test_its_saved_model_serves_every_head(trained, tmp_path):
    import tensorflow as tf

    from keras_inception.serving import export

    path = export.export_saved_model(trained.model, tmp_path / "served", all_heads=True)
    served = tf.saved_model.load(str(path)).signatures["all_heads"](images=tf.constant((X + 1) * 127.5))
    assert sorted(served) == sorted(HEADS[trained.record.name])
    for head, softmax in zip(trained.model.output_names, trained.model(X)):
        np.testing.assert_allclose(served[head].numpy(), softmax.numpy(), rtol=1e-4, atol=1e-5)  # batch norm is folded


def test_heads_are_costed_and_drawn_at_their_taps():
    model = build(FOUR)
    assert [row.name for row in cost.rows(model)][-5:] == ["linear", "late", "stem", "twin", "aux1"]
    assert sum(row.parameters for row in cost.rows(model)) == model.count_params()
    texts = [text.get_text() for axes in graph(model).axes for text in axes.texts]
    assert {"late: softmax", "stem: softmax", "twin, aux1: softmax"} <= set(texts)


def test_a_record_says_its_heads():
    assert FOUR.heads == ("main", "late", "stem", "twin", "aux1")
    assert FOUR.loss_weights == (1.0, 0.1, 0.0, 2.0, 0.3)
    assert FOUR.taps == {
        "main": "inception_4e", "late": "inception_4e", "stem": "pool1_3x3_s2", "twin": "inception_4a",
        "aux1": "inception_4a",
    }  # fmt: skip
    assert [FOUR.owner(name) for name in ("loss6_fc", "twin", "inception_4a_3x3_bn", "pool5", "image")] == [
        "late", "twin", "inception_4a", "linear", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "heads",
    [
        {"aux": "aux_head"},
        {"head_1": "head"},
        {"aux": "aux", "aux_2": "aux_2"},
        {"main_2": "pool5_a", "inception_4a_head": "aux_conv1"},
    ],
    ids=str,
)
def test_names_may_begin_with_other_names_where_layers_and_logs_differ(heads):
    names = list(heads)
    record = dataclasses.replace(
        TRUNK, auxiliary_heads=tuple(AuxiliaryHead(name, "inception_4a", heads[name], **SMALL) for name in names)
    )
    assert [record.owner(f"{heads[name]}_conv_bn") for name in names] == names
    assert [record.owner(name) for name in names] == names
    logs = {f"{name}_accuracy": number for number, name in enumerate(names)}
    assert logs_by_head(logs, record.heads)[names[-1]] == {"accuracy": len(names) - 1}


def test_the_words_that_make_names_ambiguous_are_those_of_all_layers(trained):
    record = trained.record
    stems = {row.name: WORDS[type(row)] for row in record.rows}
    stems |= {head.prefix: WORDS[AuxiliaryHead] for head in record.auxiliary_heads}
    for layer in trained.model.layers:
        for stem, words in stems.items():
            if layer.name.startswith(f"{stem}_"):
                assert layer.name.removeprefix(f"{stem}_").partition("_")[0] in words


@pytest.mark.parametrize("record", [*ki.ARCHITECTURES.values(), ONE, FOUR], ids=lambda record: record.name)
def test_a_record_survives_json(record):
    assert Architecture.from_dict(json.loads(json.dumps(record.to_dict()))) == record


@pytest.mark.parametrize("change", [{"rows": [{"kind": "Attention", "name": "a"}]}, {"depth": 3}])
def test_a_record_that_this_version_does_not_know_is_refused(change):
    with pytest.raises(ki.InputError, match="newer version's, update keras-inception"):
        Architecture.from_dict(ONE.to_dict() | change)


@pytest.mark.parametrize(
    ("head", "match"),
    [
        (AuxiliaryHead("aux", "inception_9z", "loss1"), r"must be a row: conv1_3x3_s1, .*tap='inception_9z'"),
        (
            AuxiliaryHead("main", "inception_4a", "loss1"),
            "names of their own.*Received: 'main' and 'main' in .* 'short'",
        ),
        (
            AuxiliaryHead("average", "inception_4a", "loss1"),  # an evaluation has a row of that name
            "names of their own.*average are taken.*Received: 'average' and 'average' in .* 'short'",
        ),
        (
            AuxiliaryHead("aux", "inception_4a", "loss3"),
            "names of their own.*Received: 'loss3' and 'loss3' in .* 'short'",
        ),
        (AuxiliaryHead("image", "inception_4a", "loss1"), "'image' and 'image'"),
        (AuxiliaryHead("preprocessing", "inception_4a", "loss1"), "'preprocessing' and 'preprocessing'"),
        (AuxiliaryHead("inception_4a_pool", "inception_4a", "loss1"), "'inception_4a' and 'inception_4a_pool'"),
        (AuxiliaryHead("loss1_fc", "inception_4a", "loss1"), "'loss1' and 'loss1_fc'"),
        (AuxiliaryHead("main_top_5", "inception_4a", "loss1"), "'main' and 'main_top_5'"),
        (AuxiliaryHead("val_main", "inception_4a", "loss1"), "may begin with `val_`.*'val_main'"),
        (AuxiliaryHead("aux", "inception_4a", "pool5_drop"), "'pool5' and 'pool5_drop'"),
        (AuxiliaryHead("a/b", "inception_4a", "loss1"), "AuxiliaryHead.*`name` must be a name of letters.*name='a/b'"),
        (AuxiliaryHead("aux", "inception_4a", "loss1", pool="max"), r"`pool` must be one of \('5x5/3', .*pool='max'"),
        (AuxiliaryHead("aux", "inception_4a", "loss1", loss_weight=-1), "`loss_weight` must be .*loss_weight=-1"),
        (AuxiliaryHead("aux", "inception_4a", "loss1", loss_weight=np.nan), "`loss_weight` must be .*loss_weight=nan"),
        (AuxiliaryHead("aux", "inception_4a", "loss1", dropout=1.5), "`dropout` must be .*dropout=1.5"),
        (AuxiliaryHead("aux", "inception_4a", "loss1", dense=0), "`dense` must be a whole number from 1 .*dense=0"),
        (AuxiliaryHead("aux", 3, "loss1"), "`tap` must be a text.*tap=3"),
        ("aux1", "`auxiliary_heads` must be of `AuxiliaryHead`s alone"),
    ],
)
def test_heads_that_cannot_be_are_refused(head, match):
    with pytest.raises(ki.InputError, match=match):
        dataclasses.replace(TRUNK, auxiliary_heads=(head,))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"name": "a/b"}, "An architecture's `name` must be a name of letters.*name='a/b'"),
        ({"dropout": 2}, "`dropout` must be at least 0 and below 1.*dropout=2"),
        ({"image_size": "big"}, "`image_size` must be a whole number from 1 to 65536.*image_size='big'"),
        ({"padding": "valid"}, r"`padding` must be one of \('symmetric', 'same'\).*padding='valid'"),
        ({"preprocessing": "torch"}, "`preprocessing` must be one of .*preprocessing='torch'"),
        ({"conv5x5_kernel_size": 0}, "`conv5x5_kernel_size` must be"),
        ({"convolution": None}, "`convolution` must be a `Convolution`"),
        ({"convolution": Convolution(epsilon=-1.0)}, "Convolution.*`epsilon` must be a number above 0"),
        ({"convolution": Convolution(batch_norm="yes")}, "`batch_norm` must be True or False"),
        ({"rows": []}, "`rows` must be at least one row"),
        ({"rows": ["conv"]}, "`rows` must be at least one row, and rows alone"),
        ({"rows": [Conv("a", 3, 1, 0)]}, "In architecture 'short', Conv.*: `filters` must be .*filters=0"),
        ({"rows": [Conv("a", 3, 1, "8")]}, "`filters` must be .*filters='8'"),
        ({"rows": [Conv("a", 3, 1, 8, reduce=-1)]}, "`reduce` must be"),
        ({"rows": [Conv("a", 4, 2, 8)]}, "strided kernels must be odd.*row 'a' with kernel_size=4"),
        ({"rows": [MaxPool("a", 3, True)]}, "`strides` must be"),
        ({"rows": [Conv("a", 3, 1, 8), Conv("a", 3, 1, 8)]}, "'a' and 'a'"),
        ({"rows": [Conv("a", 3, 1, 8, reduce=8), Conv("a_reduce", 3, 1, 8)]}, "'a' and 'a_reduce'"),
    ],
)
@pytest.mark.parametrize("way", ["Python", "file"])
def test_networks_that_cannot_be_are_refused(change, match, way):
    if way == "Python":
        with pytest.raises(ki.InputError, match=match) as error:
            dataclasses.replace(TRUNK, **change)
    else:
        parts = {"convolution": lambda part: part and dataclasses.asdict(part), "rows": list}
        if change.get("rows") == ["conv"] or change.get("convolution", 0) is None:
            match = "An architecture must be what `Architecture.to_dict` returns"
        elif "rows" in change:
            parts["rows"] = lambda rows: [{"kind": type(row).__name__, **dataclasses.asdict(row)} for row in rows]
        change = {name: parts.get(name, lambda value: value)(value) for name, value in change.items()}
        with pytest.raises(ki.InputError, match=match) as error:
            Architecture.from_dict(TRUNK.to_dict() | change)
    assert "\n" not in str(error.value)


def test_numbers_of_numpy_make_the_same_record():
    rows = [Conv("a", np.int64(3), np.int8(1), np.uint16(8))]
    record = dataclasses.replace(TRUNK, rows=rows, dropout=np.float64(0.5), image_size=np.int32(8))
    assert record == dataclasses.replace(TRUNK, rows=(Conv("a", 3, 1, 8),), dropout=0.5, image_size=8)
    assert json.loads(json.dumps(record.to_dict()))["rows"][0]["filters"] == 8


def test_the_width_is_an_argument_and_the_model_is_called_by_its_architecture():
    model = ki.GoogLeNet(architecture="googlenet_small", width=0.5, classes=4, aux_heads=False)
    assert (model.name, model.architecture.name) == ("googlenet_small_0.5", "googlenet_small_0.5")
    assert ki.GoogLeNet(architecture=ONE, classes=4, name="mine").name == "mine"
    # Half of Table 1's channels, rounded to multiples of 8.
    assert tuple(model.get_layer("inception_4d_3x3").kernel.shape) == (3, 3, 72, 144)
    assert tuple(model.get_layer("inception_4d_5x5_reduce").kernel.shape) == (1, 1, 256, 16)
    record = architectures.get("googlenet", 0.05)
    assert [row.conv5x5_reduce for row in record.rows if isinstance(row, Inception)] == [8] * 9
    assert record.auxiliary_heads == architectures.GOOGLENET.auxiliary_heads
    assert architectures.get("googlenet", 1) is architectures.GOOGLENET


@pytest.mark.parametrize("width", [0, -1, 0.01, 11, float("nan")])
def test_widths_out_of_range_are_refused(width):
    with pytest.raises(ki.InputError, match=r"`width` must be a number from 0.05 to 10"):
        ki.GoogLeNet(width=width)


def test_loss_weights_are_one_for_each_output_in_order_or_by_name():
    model = build(ONE)
    by_list = ki.compile_model(model, loss_weights=[0.5, 0.25]).get_compile_config()["loss_weights"]
    by_name = ki.compile_model(model, loss_weights={"middle": 0.25, "main": 0.5}).get_compile_config()["loss_weights"]
    assert by_list == by_name == [0.5, 0.25]
    for weights in ([1.0, 0.3, 0.3], [1.0]):
        with pytest.raises(ki.InputError, match=r"`loss_weights` must be given .*2 times for \['main', 'middle'\]"):
            ki.compile_model(model, loss_weights=weights)
    for weights in (
        "1",
        ["1", "0.3"],
        [[1], [0.3]],
        [[1], 0.3],
        [1, None],
        [1, np.nan],
        {"main": 1, "middle": "1"},
        [0, 0],
    ):
        with pytest.raises(ki.InputError, match=r"`loss_weights` must be "):
            ki.compile_model(model, loss_weights=weights)
    for weights in (np.array([0.5, 0.25]), [np.float32(0.5), 0.25], (0.5, np.float64(0.25))):
        config = ki.compile_model(model, loss_weights=weights).get_compile_config()
        assert json.loads(json.dumps(config["loss_weights"])) == [0.5, 0.25]
    with pytest.raises(ki.InputError, match=r"`label_smoothing` must be at least 0 and below 1.*='0.1'"):
        ki.compile_model(model, label_smoothing="0.1")
    with pytest.raises(ki.InputError, match=r"`loss_weights` by output names must be given for .*\['aux1', 'main'\]"):
        ki.compile_model(model, loss_weights={"main": 1.0, "aux1": 0.3})


def test_old_files_hold_the_name_of_an_architecture():
    config = ki.GoogLeNet(architecture="googlenet_small", classes=3).get_config()
    for name, record in (
        ("googlenet_small", architectures.GOOGLENET_SMALL),
        ("googlenet_small@0.5", architectures.GOOGLENET_SMALL.scaled(0.5)),
        (None, None),
    ):
        assert ki.InceptionModel.from_config({**config, "architecture": name}).architecture == record
