"""The configuration files and the commands of `saved_models/README.md` fit each other, and what can run, runs."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

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
MESSAGES = """
Specific: repeated int64 versions
VersionPolicy: optional Specific specific
Label: optional string key, optional int64 value
ModelConfig: optional string name, optional string base_path, optional string model_platform,
  optional VersionPolicy model_version_policy, repeated Label version_labels
ModelConfigList: repeated ModelConfig config
ModelServerConfig: optional ModelConfigList model_config_list
Number: optional int64 value
BatchingParameters: optional Number max_batch_size, optional Number batch_timeout_micros,
  optional Number max_enqueued_batches, optional Number num_batch_threads
PrometheusConfig: optional bool enable, optional string path
MonitoringConfig: optional PrometheusConfig prometheus_config
"""


def parsed(path, message):
    """Returns a file as the server's message of a name, made at run time."""
    described = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="serving.proto", syntax="proto3")
    for line in MESSAGES.replace("\n  ", " ").strip().splitlines():
        name, fields = line.split(": ")
        entry = file.message_type.add(name=name)
        for number, (label, kind, field) in enumerate(map(str.split, fields.split(",")), 1):
            scalar = None if kind[0].isupper() else getattr(described, f"TYPE_{kind.upper()}")
            entry.field.add(
                name=field,
                number=number,
                label=getattr(described, f"LABEL_{label.upper()}"),
                type=scalar or described.TYPE_MESSAGE,
                type_name=None if scalar else f".{kind}",
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    empty = message_factory.GetMessageClass(pool.FindMessageTypeByName(message))()
    return text_format.Parse(path.read_text(encoding="utf-8"), empty)


def test_the_configuration_files_are_the_server_s_messages(tmp_path):
    (flowers,) = parsed(FOLDER / "models.config", "ModelServerConfig").model_config_list.config
    assert (flowers.name, flowers.base_path, flowers.model_platform) == ("flowers", "/models/flowers", "tensorflow")
    assert list(flowers.model_version_policy.specific.versions) == [1, 2]
    assert {entry.key: entry.value for entry in flowers.version_labels} == {"stable": 1, "canary": 2}
    batching = parsed(FOLDER / "batching.config", "BatchingParameters")
    for name in ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"):
        assert getattr(batching, name).value > 0
    assert batching.batch_timeout_micros.value < 100_000
    monitoring = parsed(FOLDER / "monitoring.config", "MonitoringConfig").prometheus_config
    assert monitoring.enable
    assert f"curl http://localhost:8501{monitoring.path}" in COMMANDS
    assert f"metrics_path: {monitoring.path}\n" in PAGE
    # The package's paths are put into a copy.
    (command,) = [line for line in COMMANDS if line.startswith("sed ")]
    (tmp_path / "saved_models").mkdir()
    shutil.copy(FOLDER / "models.config", tmp_path / "saved_models")
    subprocess.run(["bash", "-ec", command], cwd=tmp_path, check=True)
    (flowers,) = parsed(tmp_path / "served_models.config", "ModelServerConfig").model_config_list.config
    assert flowers.base_path == str(tmp_path / "saved_models/flowers")


def test_the_page_has_each_server_command_for_docker_and_for_the_package_and_names_the_folder_s_files():
    docker = [line for line in SERVER_COMMANDS if line.startswith("docker")]
    assert len(docker) == len(SERVER_COMMANDS) - len(docker) == 4
    for flag in ("model_config_file", "batching_parameters_file", "monitoring_config_file"):
        assert sum(f"--{flag}=" in line for line in SERVER_COMMANDS) == 2
    named = set(re.findall(r"^\| `(\S+)` \|", PAGE, re.MULTILINE)) & {path.name for path in FOLDER.iterdir()}
    assert named == {path.name for path in FOLDER.iterdir() if path.is_file()} - {"README.md"}
    for name in re.findall(r"\]\((\w+\.\w+)\)", PAGE):
        assert (FOLDER / name).is_file()


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


@pytest.fixture
def photographs(files, tmp_path, monkeypatch):
    """A folder with the images of the page, entered."""
    shutil.copy(files["a.jpg"], tmp_path / "rose.jpg")
    shutil.copy(files["b.png"], tmp_path / "tulip.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_client_s_commands_run(client, rest, photographs, monkeypatch, capsys):
    monkeypatch.setenv("no_proxy", "*")
    commands = [shlex.split(line)[2:] for line in COMMANDS if line.startswith("python saved_models/client.py ")]
    assert len(commands) == 5
    lines = {}
    for words in commands:
        if "--grpc" in words:
            assert client.parse(words).images == ["rose.jpg", "tulip.png"]
            continue
        assert client.main([*words, "--server", f"http://127.0.0.1:{rest[0]}"]) == 0
        lines[" ".join(words)] = capsys.readouterr().out.splitlines()
    assert len(lines["--model flowers rose.jpg tulip.png"]) == 2
    stable, canary, first = (
        lines[f"--model flowers {which} rose.jpg"] for which in ("--label stable", "--label canary", "--version 1")
    )
    assert stable == first != canary


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_curl_commands_run(rest, photographs):
    start = COMMANDS.index("curl http://localhost:8501/v1/models/flowers")
    for lines, answer in (
        (COMMANDS[start : start + 1], '"AVAILABLE"'),
        (COMMANDS[start + 1 : start + 2], '"serving_bytes"'),
        (COMMANDS[start + 2 : start + 4], '"predictions"'),
    ):
        script = "\n".join(lines).replace("localhost:8501", f"127.0.0.1:{rest[0]}").replace("curl ", "curl -s ")
        run = subprocess.run(["bash", "-ec", script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
        assert answer in run.stdout, run.stdout + run.stderr
