"""Two replicas, on two devices or in two processes, do what one device does with the same batches."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]  # each starts processes

# Float32 sums in another order; a mistake in weighting one example of an uneven batch is above 1e-3.
TOLERANCE = 1e-6
QUICK = {
    "devices": "adam_batch_norm,evaluate,dropout,keras_dropout,reads,refusals,plain",
    "workers": "seed,adam_batch_norm,evaluate,plain",
}
SLOW = {
    "devices": "sgd,own_batches,arrays,predict,small_end",
    "workers": "sgd,own_batches,arrays,predict,small_end,dropout,chief_writes",
}


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def run(launch, cases):
    """Runs the cases on two logical CPU devices (and, under `one/`, on one) and in two processes on loopback."""
    with ThreadPoolExecutor() as pool:
        devices = pool.submit(launch, cases["devices"], devices=2)
        workers = pool.submit(launch, cases["workers"], workers=2)
        processes = [*devices.result(), *workers.result()]
    assert [process.code for process in processes] == [0, 0, 0], "\n".join(process.log for process in processes)
    return {"mirrored": processes[0].arrays, "worker 0": processes[1].arrays, "worker 1": processes[2].arrays}


@pytest.fixture(scope="module")
def quick(launch):
    return run(launch, QUICK)


@pytest.fixture(scope="module")
def thorough(launch):
    return run(launch, SLOW)


@pytest.fixture
def results(request):
    """Returns `results(case)`: what the case gave on two devices, and in each of two workers."""

    def results(case):
        return request.getfixturevalue("quick" if case in QUICK["workers"].split(",") else "thorough")

    return results


def largest_difference(found, expected, case, names, prefix=""):
    pairs = [
        (value, expected[f"{prefix}{name}"])
        for name, value in found.items()
        if name.startswith(f"{case}/") and name.split("/")[1].startswith(names)
    ]
    assert pairs, f"no {names} of {case}"
    return max(np.abs(value - other).max() for value, other in pairs)


def test_there_are_two_replicas(quick):
    assert [int(arrays["replicas"]) for arrays in quick.values()] == [2, 2, 2]
    assert [int(arrays["worker"]) for arrays in quick.values()] == [0, 0, 1]


CASES = ["adam_batch_norm", "plain", slow("sgd"), slow("own_batches"), slow("arrays"), slow("small_end")]


@pytest.mark.parametrize("replicas", ["mirrored", "worker 0"])
@pytest.mark.parametrize("case", CASES)
def test_weights_are_those_of_one_device(case, replicas, results):
    found = results(case)
    assert largest_difference(found[replicas], found["mirrored"], case, "weight", "one/") < TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_workers_have_identical_weights(case, results):
    found = results(case)
    assert largest_difference(found["worker 0"], found["worker 1"], case, "weight") == 0.0


@pytest.mark.parametrize("case", ["adam_batch_norm", slow("sgd"), slow("own_batches"), slow("small_end")])
def test_one_device_learns(case, results):
    # A comparison of models that never learned would prove nothing.
    first, second = results(case)["mirrored"][f"one/{case}/loss"]
    assert second < first - 0.01


@pytest.mark.parametrize("replicas", ["mirrored", "worker 0"])
@pytest.mark.parametrize(
    ("case", "names"),
    [
        ("evaluate", "evaluated"),
        ("adam_batch_norm", ("loss", "main_loss")),
        ("plain", ("logs", "predicted")),
        slow("own_batches", "evaluated"),
        slow("arrays", "val_"),
    ],
)
def test_losses_and_metrics_count_every_example_once(case, names, replicas, results):
    found = results(case)
    # Losses are near 2 and summed in float32 in another order; one example of 22 too many is above 1e-2.
    assert largest_difference(found[replicas], found["mirrored"], case, names, "one/") < 5e-6


@pytest.mark.slow
@pytest.mark.parametrize("replicas", ["mirrored", "worker 0", "worker 1"])
def test_predictions_come_in_the_order_of_the_examples(replicas, thorough):
    assert thorough["mirrored"]["one/predict/predicted13"].shape == (13, 5)
    assert largest_difference(thorough[replicas], thorough["mirrored"], "predict", "predicted", "one/") < TOLERANCE


def test_several_devices_read_their_data_once(quick):
    assert [int(quick["mirrored"][f"reads/{name}"]) for name in ("training", "evaluation")] == [16, 16]


def kept_by_none_one_both(arrays, case):
    return np.bincount(arrays[f"{case}/kept"], minlength=3)


def test_each_device_draws_its_own_dropout_mask(quick):
    assert 400 < kept_by_none_one_both(quick["mirrored"], "dropout")[1] < 600  # of 1000 units


def test_the_mask_test_notices_that_kerass_layer_draws_one_mask_for_all(quick):
    assert kept_by_none_one_both(quick["mirrored"], "keras_dropout")[1] == 0


@pytest.mark.slow
def test_each_worker_draws_its_own_dropout_mask(thorough):
    assert 400 < kept_by_none_one_both(thorough["worker 0"], "dropout")[1] < 600


def test_unseeded_workers_draw_alike(quick):
    np.testing.assert_array_equal(quick["worker 0"]["seed/drawn"], quick["worker 1"]["seed/drawn"])


@pytest.mark.slow
def test_the_chief_alone_writes_and_nobody_waits(thorough):
    chief, worker = thorough["worker 0"], thorough["worker 1"]
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
def test_what_would_go_wrong_is_refused_before_the_first_step(setting, received, quick):
    text = str(quick["mirrored"][f"refusals/{setting}"])
    assert text.startswith(f"`{setting}` does not work on several replicas: ")
    assert f"Received: {received}, 2 replicas; steps: 0" in text


def test_a_model_built_outside_the_scope_is_refused(quick):
    text = str(quick["mirrored"]["refusals/scope"])
    assert text.startswith("A model must be built and compiled inside `strategy.scope()`")
    assert text.endswith("built outside the scope of MirroredStrategy; steps: 0")


@pytest.mark.slow
def test_googlenet_on_two_devices_and_two_workers_is_that_of_one_device(launch):
    (devices,) = launch("googlenet", devices=2, limit_seconds=900)
    workers = launch("googlenet", workers=2, limit_seconds=900)
    for process in (devices, *workers):
        assert process.code == 0, process.log
        assert largest_difference(process.arrays, devices.arrays, "googlenet", "weight", "one/") < 1e-12  # float64
    assert largest_difference(workers[0].arrays, workers[1].arrays, "googlenet", "weight") == 0.0
