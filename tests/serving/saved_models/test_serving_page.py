"""The configuration files and the commands of `saved_models/README.md` fit each other, and what can run, runs."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from stand_in import Model, StandIn

from keras_inception.cli import main
from keras_inception.serving.export import warmup

FOLDER = Path(__file__).parents[3] / "saved_models"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
COMMANDS = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)).replace("\\\n", " ").splitlines()
SERVER_COMMANDS = [line for line in COMMANDS if line.startswith(("docker run", "tensorflow_model_server"))]

# Of tensorflow_serving/model_servers/main.cc.
SERVER_FLAGS = {
    "port", "rest_api_port", "rest_api_timeout_in_ms", "model_name", "model_base_path", "model_config_file",
    "model_config_file_poll_wait_seconds", "allow_version_labels_for_unavailable_models", "enable_batching",
    "batching_parameters_file", "monitoring_config_file",
}  # fmt: skip

# Of model_server_config.proto, file_system_storage_path_source.proto, session_bundle_config.proto and
# monitoring_config.proto, with the names that matter in text alone.
MESSAGES = {
    "Specific": [("versions", "repeated int64")],
    "Latest": [("num_versions", "int64")],
    "VersionPolicy": [("latest", "Latest"), ("specific", "Specific")],
    "Label": [("key", "string"), ("value", "int64")],
    "ModelConfig": [
        ("name", "string"),
        ("base_path", "string"),
        ("model_platform", "string"),
        ("model_version_policy", "VersionPolicy"),
        ("version_labels", "repeated Label"),
    ],
    "ModelConfigList": [("config", "repeated ModelConfig")],
    "ModelServerConfig": [("model_config_list", "ModelConfigList")],
    "BatchingParameters": [
        ("max_batch_size", ".google.protobuf.Int64Value"),
        ("batch_timeout_micros", ".google.protobuf.Int64Value"),
        ("max_enqueued_batches", ".google.protobuf.Int64Value"),
        ("num_batch_threads", ".google.protobuf.Int64Value"),
        ("thread_pool_name", ".google.protobuf.StringValue"),
        ("allowed_batch_sizes", "repeated int64"),
        ("pad_variable_length_inputs", "bool"),
    ],
    "PrometheusConfig": [("enable", "bool"), ("path", "string")],
    "MonitoringConfig": [("prometheus_config", "PrometheusConfig")],
}


def parsed(text, name):
    """Returns a text as the server's message of a name, made at run time; raises `text_format.ParseError`."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="serving.proto", package="serving", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    for message, fields in MESSAGES.items():
        message = file.message_type.add(name=message)
        for number, (label, kind) in enumerate(fields, 1):
            repeated, _, kind = kind.rpartition(" ")
            scalar = {"string": field.TYPE_STRING, "int64": field.TYPE_INT64, "bool": field.TYPE_BOOL}.get(kind)
            message.field.add(
                name=label,
                number=number,
                label=field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL,
                type=scalar or field.TYPE_MESSAGE,
                type_name=None if scalar else kind if kind.startswith(".") else f".serving.{kind}",
            )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"serving.{name}"))()
    return text_format.Parse(text, message)


def models_config(text=None):
    text = (FOLDER / "models.config").read_text(encoding="utf-8") if text is None else text
    return list(parsed(text, "ModelServerConfig").model_config_list.config)


def test_models_config_serves_labelled_versions():
    (flowers,) = models_config()
    assert (flowers.name, flowers.base_path, flowers.model_platform) == ("flowers", "/models/flowers", "tensorflow")
    assert list(flowers.model_version_policy.specific.versions) == [1, 2]
    assert {entry.key: entry.value for entry in flowers.version_labels} == {"stable": 1, "canary": 2}


def test_batching_config_and_monitoring_config_are_the_server_s_messages():
    batching = parsed((FOLDER / "batching.config").read_text(encoding="utf-8"), "BatchingParameters")
    for name in ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"):
        assert getattr(batching, name).value > 0
    assert batching.batch_timeout_micros.value < 100_000
    monitoring = parsed((FOLDER / "monitoring.config").read_text(encoding="utf-8"), "MonitoringConfig")
    assert monitoring.prometheus_config.enable
    path = monitoring.prometheus_config.path
    assert f"curl http://localhost:8501{path}" in COMMANDS
    assert f"metrics_path: {path}\n" in PAGE


def test_the_parser_refuses_what_is_no_such_message():
    for text in ("max_batch_size: 32", "max_batch { value: 32 }", "max_batch_size { value: 32"):
        with pytest.raises(text_format.ParseError):
            parsed(text, "BatchingParameters")


@pytest.mark.slow
def test_tensorflow_serving_api_reads_models_config():
    config = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2", exc_type=ImportError)
    text = (FOLDER / "models.config").read_text(encoding="utf-8")
    (flowers,) = text_format.Parse(text, config.ModelServerConfig()).model_config_list.config
    assert dict(flowers.version_labels) == {"stable": 1, "canary": 2}
    assert list(flowers.model_version_policy.specific.versions) == [1, 2]


def test_there_is_a_command_for_docker_and_one_for_the_package_each_time():
    docker = [line for line in SERVER_COMMANDS if line.startswith("docker")]
    assert len(docker) == len(SERVER_COMMANDS) - len(docker) == 4
    for flag in ("model_config_file", "batching_parameters_file", "monitoring_config_file"):
        assert sum(f"--{flag}=" in line for line in SERVER_COMMANDS) == 2


@pytest.mark.parametrize("command", SERVER_COMMANDS, ids=lambda command: command[:60])
def test_the_server_s_flags_exist_and_name_files_that_are_here(command):
    in_docker = command.startswith("docker")
    words = shlex.split(command)
    start = next(index for index, word in enumerate(words) if word.startswith("tensorflow"))
    flags = dict(word.removeprefix("--").split("=", 1) for word in words[start + 1 :])
    assert set(flags) <= SERVER_FLAGS
    for name, value in flags.items():
        if not name.endswith("_file"):
            continue
        path = value.replace("/models/" if in_docker else "$(pwd)/saved_models/", "")
        written = re.search(r"saved_models/models.config > (\S+)", PAGE)[1]
        assert (FOLDER / path).is_file() or value == f"$(pwd)/{written}"
    if in_docker:
        assert words[start] == "tensorflow/serving:2.21.0"
        assert {"8500:8500", "8501:8501", "$(pwd)/saved_models:/models:ro"} <= set(words)
        assert ("MODEL_NAME=flowers" in words) != ("model_config_file" in flags)
    else:
        assert (flags["port"], flags["rest_api_port"]) == ("8500", "8501")
        base_path, name = flags.get("model_base_path"), flags.get("model_name")
        assert (base_path, name) in (("$(pwd)/saved_models/flowers", "flowers"), (None, None))
        assert (name is None) == ("model_config_file" in flags)
    if "model_config_file" in flags:  # the server starts with labels of versions that it still loads
        assert flags["allow_version_labels_for_unavailable_models"] == "true"
        assert int(flags["model_config_file_poll_wait_seconds"]) > 0


def test_the_image_is_of_the_tensorflow_that_writes_exports():
    assert "tensorflow/serving:2.21.0" in PAGE
    assert tf.__version__ >= "2.21"


def test_every_warm_up_request_has_an_input_so_that_a_batching_server_takes_it(models):
    records = [bytes(record.numpy()) for record in tf.data.TFRecordDataset(str(models / "flowers/1" / warmup.PATH))]
    assert records
    assert warmup.prediction_log("flowers", "metadata", {}) not in records


def test_the_path_for_the_package_is_put_into_a_copy(tmp_path):
    (command,) = [line for line in COMMANDS if line.startswith("sed ")]
    shutil.copytree(FOLDER, tmp_path / "saved_models", ignore=lambda folder, names: [n for n in names if "." not in n])
    subprocess.run(["bash", "-ec", command], cwd=tmp_path, check=True)
    (flowers,) = models_config((tmp_path / "served_models.config").read_text(encoding="utf-8"))
    assert flowers.base_path == str(tmp_path / "saved_models/flowers")


@pytest.fixture
def page_server(models):
    """A stand-in with what `models.config` says, its paths replaced."""
    served = [
        Model(
            config.name,
            Path(config.base_path.replace("/models", str(models))),
            tuple(config.model_version_policy.specific.versions),
            {entry.key: entry.value for entry in config.version_labels},
        )
        for config in models_config()
    ]
    with StandIn(*served) as stand_in:
        yield stand_in


@pytest.fixture
def photographs(files, tmp_path, monkeypatch):
    """A folder with the images of the page, entered."""
    shutil.copy(files["a.jpg"], tmp_path / "rose.jpg")
    shutil.copy(files["b.png"], tmp_path / "tulip.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_client_s_commands_run(client, page_server, photographs, monkeypatch, capsys):
    monkeypatch.setenv("no_proxy", "*")
    commands = [shlex.split(line)[2:] for line in COMMANDS if line.startswith("python saved_models/client.py ")]
    assert len(commands) == 5
    lines = {}
    for words in commands:
        if "--grpc" in words:
            assert client.parse(words).images == ["rose.jpg", "tulip.png"]
            continue
        assert client.main([*words, "--port", str(page_server.port)]) == 0
        lines[" ".join(words)] = capsys.readouterr().out.splitlines()
    assert len(lines["--model flowers rose.jpg tulip.png"]) == 2
    stable, canary, first = (
        lines[f"--model flowers {which} rose.jpg"] for which in ("--label stable", "--label canary", "--version 1")
    )
    assert stable == first != canary


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_curl_commands_run(page_server, photographs):
    start = COMMANDS.index("curl http://localhost:8501/v1/models/flowers")
    for lines, answer in (
        (COMMANDS[start : start + 1], '"AVAILABLE"'),
        (COMMANDS[start + 1 : start + 2], '"serving_bytes"'),
        (COMMANDS[start + 2 : start + 4], '"predictions"'),
    ):
        script = (
            "\n".join(lines).replace("localhost:8501", f"127.0.0.1:{page_server.port}").replace("curl ", "curl -s ")
        )
        run = subprocess.run(["bash", "-ec", script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
        assert answer in run.stdout, run.stdout + run.stderr


def test_the_export_s_command_and_options_exist(capsys):
    (command,) = [line for line in COMMANDS if line.startswith("keras-inception ")]
    assert shlex.split(command)[:2] == ["keras-inception", "export"]
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    described = capsys.readouterr().out
    assert "saved_models/NAME" in described
    assert "--on-bad-image {error,mask}" in " ".join(described.split())


def test_the_files_of_the_page_are_those_of_the_folder():
    named = set(re.findall(r"^\| `(\S+)` \|", PAGE, re.MULTILINE)) & {path.name for path in FOLDER.iterdir()}
    assert named == {path.name for path in FOLDER.iterdir() if path.is_file()} - {"README.md"}
    for name in re.findall(r"\]\((\w+\.\w+)\)", PAGE):
        assert (FOLDER / name).is_file()


def test_the_page_says_what_was_not_run():
    assert "**The real server was not run where this was written" in PAGE
