"""Trunks of another width: "NAME@WIDTH" wherever an architecture has a name."""

import keras
import numpy as np
import pytest

import keras_inception as ki
from keras_inception import architectures
from keras_inception.cli import main


def test_a_scaled_trunk_has_so_many_filters_and_the_same_heads():
    record = architectures.get("googlenet_bn@0.5")
    rows = {row.name: row for row in record.rows}
    module = rows["inception_3a"]
    assert (module.conv1x1, module.conv3x3_reduce, module.conv3x3) == (32, 48, 64)
    assert (module.conv5x5_reduce, module.conv5x5, module.pool_proj) == (8, 16, 16)
    assert (rows["conv1_7x7_s2"].filters, rows["conv1_7x7_s2"].reduce, rows["conv1_7x7_s2"].kernel_size) == (32, 0, 7)
    assert record.auxiliary_heads == architectures.AUXILIARY_HEADS
    assert architectures.get("googlenet@1") is architectures.GOOGLENET


@pytest.mark.parametrize("name", ["googlenet@", "googlenet@wide", "googlenet@0", "googlenet@100", "googlenet@nan"])
def test_a_width_that_is_none_is_refused(name):
    with pytest.raises(ValueError, match=r'must be such as "googlenet@0.5", a number from 0.05 to 10. Received'):
        architectures.get(name)
    with pytest.raises(ValueError, match="`architecture` must be one of"):
        architectures.get("vgg@0.5")


def test_a_scaled_network_survives_its_file(tmp_path):
    model = ki.GoogLeNet(architecture="tiny@2", input_shape=(10, 10, 3), classes=3)
    assert model.get_layer("inception_4a_1x1").filters == 16
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert (again.architecture, ki.TrainConfig(architecture="tiny@2").architecture) == ("tiny@2", "tiny@2")
    x = np.zeros((1, 10, 10, 3), "float32")
    np.testing.assert_array_equal(ki.inference_model(again)(x), ki.inference_model(model)(x))


def test_the_command_takes_a_width(tmp_path, capsys):
    assert main(["train", "--architecture", "googlenet@wide", "--out", str(tmp_path / "run")]) == 2
    assert 'must be such as "googlenet@0.5"' in capsys.readouterr().err
