"""An export in the C++ loader of an older TensorFlow: a server that is not yet updated reads it."""

import json
import shutil
import subprocess
import sys
import venv

import numpy as np
import pytest
from encoded_images import encode, photograph
from served_network import CLASS_NAMES, build

import keras_inception as ki
from keras_inception.serving.export import c_loader

# The oldest of those in the table of saved_models/README.md; the others were run by hand with `PROGRAM`.
OLDER = "2.19.1"

PROGRAM = """
import json, sys
import numpy as np, tensorflow as tf
from c_loader import Server
for version in sys.argv[3:]:
    server = Server(version)
    pixels = server("serving_default", images=np.load(sys.argv[1]))
    files = server("serving_bytes", image_bytes=[open(sys.argv[2], "rb").read()])
    print(json.dumps([tf.__version__, pixels["probabilities"].tolist(), files["probabilities"].tolist()]))
"""


def python_with(package, folder):
    """Returns the Python of a new environment with a package; skips the test where it cannot be had."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "20", package]
    try:
        done = subprocess.run(install, capture_output=True, text=True, timeout=150)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{package} could not be installed within 150 s")
    if done.returncode != 0:
        pytest.skip(f"{package} could not be installed: {done.stderr.strip().splitlines()[-1]}")
    return python


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="TensorFlow 2.19 has no wheels for this Python")
def test_an_older_tensorflow_reads_exports_and_gives_the_same_answers(tmp_path):
    python = python_with(f"tensorflow=={OLDER}", tmp_path / "environment")
    images = np.random.default_rng(0).uniform(0, 255, (2, 90, 100, 3)).astype("float32")
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "photograph.jpg").write_bytes(encode(photograph(), "JPEG"))
    shutil.copy(c_loader.__file__, tmp_path)
    (tmp_path / "ask.py").write_text(PROGRAM)
    models = {
        "small": build(class_names=CLASS_NAMES),
        "googlenet": build("googlenet", input_shape=(79, 79, 3), class_names=CLASS_NAMES),
    }
    versions = [ki.export_saved_model(model, tmp_path / name) for name, model in models.items()]
    versions.append(ki.export_saved_model(models["googlenet"], tmp_path / "bfloat16", precision="bfloat16"))
    versions.append(ki.export_saved_model(models["small"], tmp_path / "exits", exits=0.5, on_bad_image="mask"))
    command = [python, "ask.py", "images.npy", "photograph.jpg", *versions]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for line, version in zip(done.stdout.splitlines(), versions, strict=True):
        tensorflow, pixels, files = json.loads(line)
        assert tensorflow == OLDER
        server = c_loader.Server(version)
        tolerance = 1e-2 if "bfloat16" in str(version) else 1e-5
        for signature, inputs, answer in (
            ("serving_default", {"images": images}, pixels),
            ("serving_bytes", {"image_bytes": [(tmp_path / "photograph.jpg").read_bytes()]}, files),
        ):
            expected = server(signature, **inputs)["probabilities"]
            np.testing.assert_allclose(answer, expected, rtol=0, atol=tolerance, err_msg=str(version))
        server.close()
