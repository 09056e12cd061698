"""Two replicas, on two devices or in two processes, do what one device does with the same batches."""

import numpy as np
import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]  # each starts processes

# Float32 sums in another order; a mistake in weighting one example of an uneven batch is above 1e-3.
TOLERANCE = 1e-6
DEVICES = (
    "sgd,adamw_batch_norm,falling,taught,own_batches,arrays,plain,small_end,untrained,dropout,reads,refusals,resumed"
)
WORKERS = "seed,sgd,adamw_batch_norm,falling,taught,own_batches,arrays,plain,small_end,untrained,dropout,chief_writes"


@pytest.fixture(scope="module")
def results(launch):
    """What the cases gave on two logical CPU devices (and, under `one/`, on one) and in two processes on loopback."""
    processes = [*launch(DEVICES, devices=2), *launch(WORKERS, workers=2)]  # in turns: each has a time limit
    assert [process.code for process in processes] == [0, 0, 0], "\n".join(p.complained for p in processes)
    return dict(zip(("mirrored", "worker 0", "worker 1"), (process.arrays for process in processes)))


def largest_difference(found, expected, case, names, prefix=""):
    pairs = [
        (value, expected[f"{prefix}{name}"])
        for name, value in found.items()
        if name.startswith(f"{case}/") and name.split("/")[1].startswith(names)
    ]
    assert pairs, f"no {names} of {case}"
    return max(np.abs(value - other).max() for value, other in pairs)


def test_there_are_two_replicas(results):
    assert [int(arrays["replicas"]) for arrays in results.values()] == [2, 2, 2]
    assert [int(arrays["worker"]) for arrays in results.values()] == [0, 0, 1]


CASES = ["sgd", "adamw_batch_norm", "falling", "taught", "own_batches", "arrays", "plain", "small_end"]


@pytest.mark.parametrize("case", CASES)
def test_weights_are_those_of_one_device(case, results):
    for replicas in ("mirrored", "worker 0"):
        assert largest_difference(results[replicas], results["mirrored"], case, "weight", "one/") < TOLERANCE
    assert largest_difference(results["worker 0"], results["worker 1"], case, "weight") == 0.0
    if case not in ("arrays", "plain"):  # a comparison of models that never learned would prove nothing
        first, second = results["mirrored"][f"one/{case}/loss"]
        assert second < first - 0.01


@pytest.mark.parametrize("replicas", ["mirrored", "worker 0"])
@pytest.mark.parametrize(
    ("case", "names"),
    [
        ("untrained", ("evaluated", "predicted")),  # which come in the order of the examples
        ("adamw_batch_norm", ("loss", "main_loss")),
        ("plain", ("logs", "predicted")),
        ("own_batches", "evaluated"),
        ("arrays", "val_"),
    ],
)
def test_losses_and_metrics_count_every_example_once(case, names, replicas, results):
    # Losses are near 2 and summed in float32 in another order; one example of 22 too many is above 1e-2.
    assert largest_difference(results[replicas], results["mirrored"], case, names, "one/") < 5e-6


def test_several_devices_read_their_data_once(results):
    assert [int(results["mirrored"][f"reads/{name}"]) for name in ("training", "evaluation")] == [16, 16]


@pytest.mark.parametrize("replicas", ["mirrored", "worker 0"])
def test_each_replica_draws_its_own_dropout_mask(replicas, results):
    kept = results[replicas]["dropout/kept"]  # of 1000 units: by none, one or both; one mask for all has no "one"
    assert 400 < np.bincount(kept, minlength=3)[1] < 600


def test_unseeded_workers_draw_alike(results):
    np.testing.assert_array_equal(results["worker 0"]["seed/drawn"], results["worker 1"]["seed/drawn"])


def test_the_chief_alone_writes_and_nobody_waits(results):
    chief, worker = results["worker 0"], results["worker 1"]
    assert (bool(chief["chief_writes/wrote"]), bool(worker["chief_writes/wrote"])) == (True, False)
    assert chief["chief_writes/own"].tolist() == []  # nothing of the strategy is left in the model
    assert largest_difference(chief, worker, "chief_writes", "weight") == 0.0


@pytest.mark.parametrize(
    ("setting", "received"),
    [
        ("steps_per_execution", "steps_per_execution=2"),
        ("jit_compile", "jit_compile=True"),
        ("gradient_accumulation_steps", "gradient_accumulation_steps=2"),
        ("clipnorm", "clipnorm=1.0"),
        ("clipvalue", "clipvalue=1.0"),
        ("global_clipnorm", "global_clipnorm=1.0"),
        ("ema_overwrite_frequency", "ema_overwrite_frequency=2"),
    ],
)
def test_what_would_go_wrong_is_refused(setting, received, results):
    text = str(results["mirrored"][f"refusals/{setting}"])
    assert text.startswith(f"`{setting}` does not work on several replicas: ")
    assert text.endswith(f"Received: {received}, 2 replicas")


def test_models_are_refused_before_the_first_step_and_outside_of_the_scope(results):
    text = str(results["mirrored"]["refusals/scope"])
    assert text.startswith("A model must be built and compiled inside `strategy.scope()`")
    assert text.endswith("built outside the scope of MirroredStrategy")
    assert str(results["mirrored"]["refusals/fit"]).endswith("Received: jit_compile=True, 2 replicas Steps: 0")


def test_googlenet_on_two_devices_and_two_workers_is_that_of_one_device(launch):
    (devices,) = launch("googlenet", devices=2, limit_seconds=900)
    workers = launch("googlenet", workers=2, limit_seconds=900)
    for process in (devices, *workers):
        assert process.code == 0, process.complained
        assert largest_difference(process.arrays, devices.arrays, "googlenet", "weight", "one/") < 1e-12  # float64
    assert largest_difference(workers[0].arrays, workers[1].arrays, "googlenet", "weight") == 0.0


def test_a_run_that_ended_within_an_epoch_goes_on_with_its_metrics(results):
    found = {name.split("/")[-1]: value for name, value in results["mirrored"].items() if name.startswith("resumed/")}
    assert found["steps"]
    np.testing.assert_allclose(found["parts_logs"], found["whole_logs"], rtol=1e-4)  # sums over threads
    for name in (name for name in found if name.startswith("parts_weight")):
        np.testing.assert_allclose(found[name], found[name.replace("parts", "whole")], atol=1e-4)
