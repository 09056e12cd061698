"""Parameters and multiply-adds of every row against figures typed from the paper and counted by hand."""

import keras
import pytest
from test_architectures import MODULE_PARAMETERS

import keras_inception as ki
from keras_inception import GoogLeNet
from keras_inception.network import cost

# The hand arithmetic of the paper's network with biases, 1,000 classes.
PARAMETERS = {f"inception_{module}": count for module, count in MODULE_PARAMETERS.items()}
PARAMETERS |= {"linear": 1_025_000, "aux1": 3_188_840, "aux2": 3_190_888}

# Table 1, columns "params" and "ops", typed from the paper.
PAPER = {
    "conv2_3x3": (112, 360),
    "inception_3a": (159, 128),
    "inception_3b": (380, 304),
    "inception_4b": (437, 88),
    "inception_4d": (580, 119),
    "inception_4e": (840, 170),
    "inception_5b": (1388, 71),
    "linear": (1000, 1),
}


@pytest.fixture(scope="module")
def costs(googlenet):
    return {row.name: row for row in cost.rows(googlenet)}


@pytest.fixture(scope="module")
def googlenet(full_networks):
    return full_networks("googlenet")


def test_rows_have_the_parameters_counted_by_hand(costs):
    assert {name: costs[name].parameters for name in PARAMETERS} == PARAMETERS


def test_rows_add_up_to_the_whole_network(costs):
    assert sum(row.parameters for row in costs.values()) == 13_378_280
    inference = [row for name, row in costs.items() if name not in ("aux1", "aux2")]
    assert sum(row.parameters for row in inference) == 6_998_552
    assert round(sum(row.multiply_adds for row in inference) / 1e6, 1) == 1582.7
    model = GoogLeNet(architecture="inception_v1_torchvision", aux_heads=False)
    assert round(sum(row.multiply_adds for row in cost.rows(model)) / 1e6, 1) == 1498.4


@pytest.mark.parametrize("name", PAPER)
def test_rows_that_the_paper_prints_right_agree_with_it(costs, googlenet, name):
    parameters, operations = PAPER[name]
    assert (cost.PRINTED[name].parameters, cost.PRINTED[name].operations) == (parameters, operations)
    # The paper counts no biases, in units of 1,024. Its operations are right to the digit, its parameters to 2%.
    prefix = {"linear": "loss3"}.get(name, name)
    biases = sum(
        layer.bias.shape[0] for layer in googlenet.layers if layer.name.startswith(prefix) and layer.get_weights()
    )
    assert (costs[name].parameters - biases) / 1024 == pytest.approx(parameters, rel=0.02)
    assert round(costs[name].multiply_adds / 1e6) == operations


def test_notes_explain_the_rows_that_the_paper_prints_otherwise():
    assert {name for name, printed in cost.PRINTED.items() if printed.note} == {
        "conv1_7x7_s2", "inception_4a", "inception_4c", "inception_4d", "inception_5a", "inception_5b",
    }  # fmt: skip
    # A separable 7x7 with depth multiplier 8: depthwise 7x7x3x8, then pointwise 24 to 64.
    separable = 7 * 7 * 3 * 8 + 24 * 64
    assert (round(separable / 1000, 1), round(separable * 112 * 112 / 1e6)) == (2.7, 34)
    # 4a from 480 channels with 204 filters of 3x3 instead of 208: 1x1, reduce and 3x3, reduce and 5x5, projection.
    with_204 = 480 * 192 + 480 * 96 + 96 * 204 * 9 + 480 * 16 + 16 * 48 * 25 + 480 * 64
    biases = 192 + 96 + 204 + 16 + 48 + 64
    assert (round((with_204 + biases) / 1024), round(with_204 * 14 * 14 / 1e6)) == (364, 73)
    # 5a from 832 channels with a 5x5 reduce of 48 instead of 32. The operations fit; with 32 they would be 51.
    with_48 = 832 * 256 + 832 * 160 + 160 * 320 * 9 + 832 * 48 + 48 * 128 * 25 + 832 * 128
    assert round(with_48 * 7 * 7 / 1e6) == 54
    assert with_48 / 1024 == pytest.approx(1072, rel=0.01)
    # 4c, 4d and 5b: what the printed operations say of the parameters (of 1,024) is not what is printed beside them.
    assert [round(operations * 1e6 / size**2 / 1024) for operations, size in ((100, 14), (119, 14), (71, 7))] == [
        498, 593, 1415,
    ]  # fmt: skip


def test_modules_say_what_the_naive_module_costs(costs):
    # 3a without reductions: 192 channels at 28x28 to 64 by 1x1, 128 by 3x3 and 32 by 5x5.
    assert costs["inception_3a"].naive == 28 * 28 * 192 * (64 + 9 * 128 + 25 * 32)
    assert sum(row.naive is not None for row in costs.values()) == 9


def test_networks_that_cannot_be_costed_are_refused():
    model = GoogLeNet(input_shape=(None, None, 3), aux_heads=False, classes=10)
    with pytest.raises(ki.InputError, match=r"fixed `input_shape`.*a model with input_shape=\(None, None, 3\)"):
        cost.rows(model)
    image = keras.Input((8, 8, 3))
    with pytest.raises(ki.InputError, match="must know its architecture"):
        cost.rows(keras.Model(image, keras.layers.Flatten()(image)))
