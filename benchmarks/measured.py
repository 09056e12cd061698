"""A process that measures one thing, and nothing between two questions; `processes.py` starts and asks it.

    python measured.py '{"what": "ours", ...}'

It answers "ready" when everything is built, traced and warm, then each command that comes in with one line of JSON.
Processes of their own have a memory of their own, and two frameworks in them do not share threads.
"""

import argparse
import functools
import json
import os
import resource
import sys
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

SEED = 0


def peak_mebibytes():
    """Returns the largest memory that this process has held, in MiB: all of it, with interpreter and libraries."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB


def pin(cores):
    """Lets this process and all its threads run on some cores alone."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), cores)


def timed(function):
    """Returns a command that calls a function; wall-clock seconds, and CPU seconds over all threads."""

    def command():
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        return {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}

    return command


def ours(*, architecture, dtype, batch_size, size, width=1, threads=None, optimizer=None, steps=1):
    """A training step of this package as `fit` takes it, an epoch of such steps, and the main head's forward pass."""
    import keras
    import numpy as np
    import tensorflow as tf

    import keras_inception as ki
    from keras_inception.network import cost

    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    keras.utils.set_random_seed(SEED)
    keras.config.set_dtype_policy(dtype)
    before = peak_mebibytes()
    model = ki.GoogLeNet(architecture=architecture, width=width, input_shape=(size, size, 3))
    if optimizer == "sgd":
        ki.compile_model(model, keras.optimizers.SGD(0.01, momentum=0.9))
    random = np.random.default_rng(SEED)
    images = random.uniform(-1, 1, (batch_size, size, size, 3)).astype("float32")
    ready = tf.data.Dataset.from_tensors((images, random.integers(0, 1000, batch_size)))
    model.fit(ready, verbose=0)  # builds the metrics, and traces
    endless, function = iter(ready.repeat()), model.train_function

    def step():
        return float(function(endless)["loss"])  # waits for the result

    def bare():
        for _ in range(steps):
            step()

    def fit(callbacks=()):
        model.fit(ready.repeat(steps), shuffle=False, verbose=0, callbacks=list(callbacks))

    def fit_and_look_inside():
        """Returns the seconds of an epoch, and the CPU seconds that its calls of the train function took."""
        inside = []

        def watched(iterator):
            begin = time.process_time()
            result = function(iterator)
            inside.append(time.process_time() - begin)
            return result

        model.train_function = watched
        try:
            return {**timed(fit)(), "inside": sum(inside)}
        finally:
            model.train_function = function

    def fit_with_diagnosis():
        fit(ki.diagnosis.callbacks(lambda message: None))

    classifier = tf.function(functools.partial(ki.inference_model(model), training=False))

    def forward():
        classifier(images).numpy()

    commands = {
        "step": timed(step),
        "forward": timed(forward),
        "bare": timed(bare),
        "fit": fit_and_look_inside,
        "train": timed(fit_with_diagnosis),
    }
    return commands, {"before": before, "multiply_adds": sum(row.multiply_adds for row in cost.rows(model))}


def torchvisions_loss(torch, outputs, labels):
    """The paper's loss of torchvision's three outputs."""
    entropy = torch.nn.functional.cross_entropy
    heads = 0.3 * entropy(outputs.aux_logits1, labels) + 0.3 * entropy(outputs.aux_logits2, labels)
    return entropy(outputs.logits, labels) + heads


def torchvisions(*, dtype, batch_size, size, channels_last=False, compiled=False, threads=1):
    """A training step of torchvision's network with the losses, the weights of the heads and the SGD of ours."""
    from peers import import_torchvision

    torch, torchvision = import_torchvision()
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(threads)
    torch.manual_seed(SEED)
    # The input is not transformed, as ours is not.
    network = torchvision.models.GoogLeNet(num_classes=1000, aux_logits=True, transform_input=False, init_weights=True)
    images, labels = torch.rand(batch_size, 3, size, size) * 2 - 1, torch.randint(0, 1000, (batch_size,))
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.train().parameters(), lr=0.01, momentum=0.9)
    forward = torch.compile(network) if compiled else network

    def step():
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "mixed_bfloat16"):
            outputs = forward(images)
            loss = torchvisions_loss(torch, outputs, labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return {"step": timed(step)}, {}


def inference(*, engine, shape, **options):
    """The forward pass of one engine on a batch of pixels; the options say which file it reads, and in which type."""
    import engines
    import numpy as np

    makers = {
        "tensorflow": engines.tensorflow_engine,
        "onnxruntime": engines.onnxruntime_engine,
        "openvino": functools.partial(engines.openvino_engine, shape=shape),
        "torchvision": functools.partial(engines.torchvision_engine, shape),
    }
    forward = makers[engine](**options)
    images = np.random.default_rng(SEED).uniform(0, 255, shape).astype("float32")
    return {"forward": timed(lambda: forward(images))}, {}


class Stamps:
    """The steps of a call of `fit`: the time between warm points within it, and what remains."""

    def __init__(self, warm):
        import keras

        self._times, self._warm = [], warm
        self.callback = keras.callbacks.LambdaCallback(on_train_batch_end=self._stamp)

    def _stamp(self, step, logs):
        float(logs["loss"])  # waits for the result
        self._times.append((time.perf_counter(), time.process_time()))

    def of(self, fit):
        """Calls `fit`; returns seconds a step between warm points, and seconds of the call beside its steps."""
        self._times.clear()
        begin = time.perf_counter()
        fit()
        whole = time.perf_counter() - begin
        (start, start_cpu), (end, end_cpu) = self._times[self._warm - 1], self._times[-1]
        steps = len(self._times) - self._warm
        seconds = (end - start) / steps
        return {
            "seconds": seconds,
            "cpu_seconds": (end_cpu - start_cpu) / steps,
            "start": whole - len(self._times) * seconds,
        }


def worker(*, architecture, batch_size, size, steps, warm_steps=1):
    """Steps of `fit` in one of the workers that TF_CONFIG names, alone or together, and the exchange of gradients."""
    import contextlib

    import keras
    import numpy as np
    import tensorflow as tf

    import keras_inception as ki

    tf.config.threading.set_intra_op_parallelism_threads(1)
    strategy = ki.distribute.get_strategy()
    random, stamps = np.random.default_rng(SEED), Stamps(warm_steps)
    untuned = tf.data.Options()  # as this package's own data are on one core
    untuned.autotune.enabled = False

    def command(scope, images_a_step):
        keras.utils.set_random_seed(SEED)
        with scope:
            model = ki.GoogLeNet(architecture=architecture, input_shape=(size, size, 3))
            ki.compile_model(model, keras.optimizers.SGD(0.01, momentum=0.9))
        images = random.uniform(-1, 1, (images_a_step, size, size, 3)).astype("float32")
        examples = tf.data.Dataset.from_tensor_slices((images, random.integers(0, 1000, images_a_step)))
        batches = ki.distribute.batch(
            examples.repeat(warm_steps + steps), images_a_step, strategy=model.distribute_strategy
        ).with_options(untuned)
        return model, lambda: stamps.of(
            lambda: model.fit(batches, shuffle=False, verbose=0, callbacks=[stamps.callback])
        )

    _, alone = command(contextlib.nullcontext(), batch_size)
    model, together = command(strategy.scope(), batch_size * strategy.num_replicas_in_sync)
    gradients = [tf.ones(weight.shape) for weight in model.trainable_weights]

    def exchange(bytes_per_pack):
        options = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=bytes_per_pack)

        def replica():
            context = tf.distribute.get_replica_context()
            return tf.reduce_sum(context.all_reduce(tf.distribute.ReduceOp.SUM, gradients, options)[0])

        return timed(tf.function(lambda: strategy.run(replica)))

    facts = {"gradients": sum(int(tf.size(gradient)) for gradient in gradients)}
    exchanges = {"exchange": exchange(0), "exchange in one pack": exchange(2**30)}
    return {"alone": alone, "together": together, **exchanges}, facts


def data_parallel(*, batch_size, size, steps, rank, port, warm_steps=1):
    """Steps of torchvision's network in PyTorch, alone and in two processes that exchange gradients over gloo."""
    from peers import import_torchvision

    torch, torchvision = import_torchvision()
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    torch.manual_seed(SEED)
    torch.distributed.init_process_group("gloo", f"tcp://localhost:{port}", rank=rank, world_size=2)
    images, labels = torch.rand(batch_size, 3, size, size) * 2 - 1, torch.randint(0, 1000, (batch_size,))

    def network():
        return torchvision.models.GoogLeNet(num_classes=1000, transform_input=False, init_weights=False).train()

    def command(forward):
        optimizer = torch.optim.SGD(forward.parameters(), lr=0.01, momentum=0.9)

        def step():
            optimizer.zero_grad()
            outputs = forward(images)
            loss = torchvisions_loss(torch, outputs, labels)
            loss.backward()
            optimizer.step()
            return float(loss.detach())

        def run():
            for _ in range(warm_steps):
                step()
            return {name: value / steps for name, value in timed(lambda: [step() for _ in range(steps)])().items()}

        return run

    together = torch.nn.parallel.DistributedDataParallel(network())
    gradients = [torch.ones_like(weight) for weight in together.parameters()]

    def exchange():
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)

    return {"alone": command(network()), "together": command(together), "exchange": timed(exchange)}, {}


WHAT = {
    "ours": ours,
    "torchvision": torchvisions,
    "inference": inference,
    "worker": worker,
    "data parallel": data_parallel,
}
PINNED_FROM_THE_START = ("worker", "data parallel")  # their threads are counted at the import


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("options", metavar="JSON", type=json.loads, help=f'"what" is one of {", ".join(WHAT)}')
    options = parser.parse_args().options
    # What is written to the standard output by a library would be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    what, cores, warm = (options.pop(name, None) for name in ("what", "cores", "warm"))
    answer = functools.partial(print, file=answers, flush=True)
    if what in PINNED_FROM_THE_START:
        pin(cores)
    commands, facts = WHAT[what](**options)
    for name in warm:
        commands[name]()
    if cores:
        pin(cores)  # only now, so that several processes can be built on all cores
    answer(json.dumps({**facts, "peak": peak_mebibytes()}))
    for line in sys.stdin:
        answer(json.dumps({**(commands[line.strip()]() or {}), "peak": peak_mebibytes()}))


if __name__ == "__main__":
    main()
