"""The engines that run a trained network: each is a function of images `(batch, height, width, 3)` in [0, 255].

Each computes on one thread, in float32 or bfloat16. Nothing is imported before an engine is made: several of them in
one process would share threads and memory.
"""


def tensorflow_engine(version, signature="serving_default"):
    """The session that TensorFlow Serving makes of an exported version, with the input of one of its signatures."""
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph, config=config)
    with graph.as_default():
        loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(version))
    definition = loaded.signature_def[signature]
    feeds = [tensor.name for tensor in definition.inputs.values()]
    return session.make_callable(definition.outputs["probabilities"].name, feeds)


def onnxruntime_engine(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["probabilities"], {"images": images})[0]


def openvino_engine(path, shape, precision):
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(shape)  # it may plan for this very batch
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    return lambda images: request.infer({"images": images})["probabilities"]


def torchvision_engine(shape, precision, *, channels_last=False, compiled=False):
    """Torchvision's network without its heads, with the preprocessing and the softmax that the others' graphs hold."""
    from peers import import_torchvision

    torch, torchvision = import_torchvision()
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    torch.manual_seed(0)
    network = torchvision.models.GoogLeNet(aux_logits=False, transform_input=False, init_weights=True).eval()
    pixels = torch.zeros(shape[0], shape[3], *shape[1:3])
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    network = torch.compile(network) if compiled else network

    def forward(images):
        pixels.copy_(torch.from_numpy(images).permute(0, 3, 1, 2)).div_(127.5).sub_(1)
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            return network(pixels).float().softmax(1).numpy()

    return forward


def trained_looking(architecture):
    """Returns a network with biases and statistics as after a training: TensorFlow removes additions of zeros."""
    import numpy as np

    import keras_inception as ki

    model, random = ki.GoogLeNet(architecture=architecture), np.random.default_rng(0)
    for layer in model.layers:
        for variable in layer.weights:
            name = variable.path.rsplit("/", 1)[-1]
            if name in ("bias", "beta", "moving_mean"):
                variable.assign(random.normal(0, 0.1, variable.shape))
            elif name in ("gamma", "moving_variance"):
                variable.assign(random.uniform(0.8, 1.2, variable.shape))
    return model
