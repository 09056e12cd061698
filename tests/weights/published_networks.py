"""The three published networks, typed here a second time: random weights under their names, and files that hold them.

Nothing here is taken from the package. The names and shapes are checked against the publishers' own programs by the
tests of `test_weights_against_engines.py`; the arrays come from seeds, the same on every machine.
"""

import importlib.util
import math
import pathlib
import re
import struct
import sys

import numpy as np

# Input channels, 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
MODULES = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


def branches(module, size_of_5x5):
    """Returns `(filters, channels, kernel size)` of the six convolutions of a module, in the order of the table."""
    channels, one, reduce3, three, reduce5, five, pool = MODULES[module]
    return (
        (one, channels, 1),
        (reduce3, channels, 1),
        (three, reduce3, 3),
        (reduce5, channels, 1),
        (five, reduce5, size_of_5x5),
        (pool, channels, 1),
    )


class Draws:
    """Random arrays of a seed. `RandomState` promises the same numbers under every version of NumPy."""

    def __init__(self, seed):
        self.state = np.random.RandomState(seed)

    def normal(self, *shape, std=1.0):
        return (self.state.standard_normal(shape) * std).astype("float32")

    def uniform(self, low, high, *shape):
        return self.state.uniform(low, high, shape).astype("float32")

    def kernel(self, filters, channels, size):
        """A convolution that keeps the size of the activations: `(filters, channels, size, size)`."""
        return self.normal(filters, channels, size, size, std=math.sqrt(2 / (channels * size * size)))

    def normalized_kernel(self, filters, channels, size):
        """A convolution, and moving mean and variance near the true ones; in every 16th channel epsilon counts."""
        variance = self.uniform(0.5, 2.0, filters)
        variance[::16] = 0.004
        scale = np.sqrt(variance)
        kernel = self.kernel(filters, channels, size) * scale[:, None, None, None]
        return kernel, self.normal(filters, std=0.3) * scale, variance


def images(size, count=2, seed=11):
    """Returns coloured patches with noise: uint8 RGB `(count, size, size, 3)`, unlike in their channels and sides."""
    state = np.random.RandomState(seed)
    patches = state.randint(0, 256, (count, 7, 7, 3)).astype("int64")
    patches[..., 0] = patches[..., 0] * 2 // 3 + 80  # more red than blue, so that channels in the wrong order show
    patches[..., 2] //= 2
    cell = -(-size // 7)
    pixels = patches.repeat(cell, 1).repeat(cell, 2)[:, :size, :size]
    return np.clip(pixels + state.randint(-25, 26, pixels.shape), 0, 255).astype("uint8")


# ---------------------------------------------------------------------------------------------------------------- Caffe

CAFFE_BRANCHES = ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj")


def bvlc_tensors(classes=1000, seed=1):
    """Returns `{layer: [weights, bias]}` as BVLC's file holds it, with activations in the hundreds as for images."""
    draws, layers = Draws(seed), {}

    def convolution(name, filters, channels, size):
        layers[name] = [draws.kernel(filters, channels, size), draws.normal(filters, std=3.0)]

    def linear(name, outputs, inputs, std):
        layers[name] = [draws.normal(outputs, inputs, std=std), draws.normal(outputs, std=0.5)]

    convolution("conv1/7x7_s2", 64, 3, 7)
    convolution("conv2/3x3_reduce", 64, 64, 1)
    convolution("conv2/3x3", 192, 64, 3)
    for module in MODULES:
        for branch, sizes in zip(CAFFE_BRANCHES, branches(module, 5)):
            convolution(f"inception_{module}/{branch}", *sizes)
    linear("loss3/classifier", classes, 1024, 0.002)
    for head, channels in (("loss1", 512), ("loss2", 528)):
        convolution(f"{head}/conv", 128, channels, 1)
        linear(f"{head}/fc", 1024, 2048, math.sqrt(2 / 2048))
        linear(f"{head}/classifier", classes, 1024, 0.002)
    return layers


def caffemodel(layers, *, encoding="layers", header="legacy", values="float"):
    """Returns the bytes of a `.caffemodel`, written from the wire format of protocol buffers.

    Args:
        layers: `{name: [array, ...]}`.
        encoding: "layers", field 2 with the type as a number, or "layer", field 100 with the type as a word.
        header: "legacy", four numbers a blob, or "shape".
        values: "float" (packed), "double" (packed) or "unpacked" (one tag a number, which old writers used).
    """
    message = _bytes(1, b"GoogleNet")
    for name, blobs in layers.items():
        if encoding == "layers":
            kind = 4 if blobs[0].ndim == 4 else 14  # CONVOLUTION, INNER_PRODUCT
            body = _bytes(2, b"below") + _bytes(3, name.encode()) + _bytes(4, name.encode()) + _varint_field(5, kind)
            body += b"".join(_bytes(6, _blob(blob, header, values)) for blob in blobs)
            message += _bytes(2, body)
        else:
            kind = b"Convolution" if blobs[0].ndim == 4 else b"InnerProduct"
            body = _bytes(1, name.encode()) + _bytes(2, kind) + _bytes(3, b"below") + _bytes(4, name.encode())
            body += b"".join(_bytes(7, _blob(blob, header, values)) for blob in blobs)
            message += _bytes(100, body)
    return message


def _blob(array, header, values):
    if header == "legacy":
        sizes = (1,) * (4 - array.ndim) + array.shape
        found = b"".join(_varint_field(number, size) for number, size in enumerate(sizes, 1))
    else:
        found = _bytes(7, _bytes(1, b"".join(_varint(size) for size in array.shape)))
    if values == "double":
        return found + _bytes(8, array.astype("<f8").tobytes())
    if values == "unpacked":
        return found + b"".join(b"\x2d" + struct.pack("<f", value) for value in array.ravel())
    return found + _bytes(5, array.astype("<f4").tobytes())


def _varint(value):
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _varint_field(number, value):
    return _varint(number << 3) + _varint(value)


def _bytes(number, data):
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def prototxt(size, classes=1000):
    """Returns BVLC's network as Caffe's text: `train_val.prototxt` at test time, with softmaxes for losses.

    At other sizes than 224 it has no auxiliary heads, and the main head's 7x7 pooling is global.
    """
    text = [f'name: "GoogleNet" input: "data" input_shape {{ dim: 1 dim: 3 dim: {size} dim: {size} }}']

    def layer(kind, name, bottoms, settings="", top=None):
        inputs = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
        text.append(f'layer {{ name: "{name}" type: "{kind}" {inputs} top: "{top or name}" {settings} }}')
        return top or name

    def convolution(name, bottom, filters, kernel, stride=1, pad=0):
        settings = f"num_output: {filters} kernel_size: {kernel} stride: {stride} pad: {pad}"
        layer("Convolution", name, [bottom], f"convolution_param {{ {settings} }}")
        return layer("ReLU", f"{name}/relu", [name], top=name)

    def pool(name, bottom, kind, kernel, stride, pad=0):
        settings = f"pool: {kind} kernel_size: {kernel} stride: {stride} pad: {pad}"
        return layer("Pooling", name, [bottom], f"pooling_param {{ {settings} }}")

    def norm(name, bottom):
        return layer("LRN", name, [bottom], "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")

    def classifier(prefix, bottom, dropout, name):
        layer("Dropout", f"{prefix}/drop", [bottom], f"dropout_param {{ dropout_ratio: {dropout} }}", top=bottom)
        top = layer(
            "InnerProduct", f"{prefix}/classifier", [bottom], f"inner_product_param {{ num_output: {classes} }}"
        )
        return layer("Softmax", name, [top])

    x = convolution("conv1/7x7_s2", "data", 64, 7, 2, 3)
    x = norm("pool1/norm1", pool("pool1/3x3_s2", x, "MAX", 3, 2))
    x = convolution("conv2/3x3_reduce", x, 64, 1)
    x = norm("conv2/norm2", convolution("conv2/3x3", x, 192, 3, pad=1))
    x = pool("pool2/3x3_s2", x, "MAX", 3, 2)
    for module, (_, one, reduce3, three, reduce5, five, projection) in MODULES.items():
        if module in ("4a", "5a"):
            x = pool(f"pool{int(module[0]) - 1}/3x3_s2", x, "MAX", 3, 2)
        name = f"inception_{module}"
        tops = [
            convolution(f"{name}/1x1", x, one, 1),
            convolution(f"{name}/3x3", convolution(f"{name}/3x3_reduce", x, reduce3, 1), three, 3, pad=1),
            convolution(f"{name}/5x5", convolution(f"{name}/5x5_reduce", x, reduce5, 1), five, 5, pad=2),
            convolution(f"{name}/pool_proj", pool(f"{name}/pool", x, "MAX", 3, 1, 1), projection, 1),
        ]
        x = layer("Concat", f"{name}/output", tops)
        if size == 224 and module in ("4a", "4d"):
            head = {"4a": "loss1", "4d": "loss2"}[module]
            y = convolution(f"{head}/conv", pool(f"{head}/ave_pool", x, "AVE", 5, 3), 128, 1)
            layer("InnerProduct", f"{head}/fc", [y], "inner_product_param { num_output: 1024 }")
            y = layer("ReLU", f"{head}/relu_fc", [f"{head}/fc"], top=f"{head}/fc")
            classifier(head, y, 0.7, {"4a": "aux1", "4d": "aux2"}[module])
    if size == 224:
        x = pool("pool5/7x7_s1", x, "AVE", 7, 1)
    else:
        x = layer("Pooling", "pool5", [x], "pooling_param { pool: AVE global_pooling: true }")
    classifier("loss3", x, 0.4, "main")
    return "\n".join(text)


def opencv_outputs(cv2, layers, pixels):
    """Runs BVLC's network in OpenCV: a dict of the softmaxes, and of the map of 5b, `(batch, height, width, 1024)`."""
    size, classes = pixels.shape[1], len(layers["loss3/classifier"][1])
    texts = (np.frombuffer(text, "uint8") for text in (prototxt(size, classes).encode(), caffemodel(layers)))
    network = cv2.dnn.readNetFromCaffe(*texts)
    names = ["main", *(["aux1", "aux2"] if size == 224 else []), "inception_5b/output"]
    found = {name: [] for name in names}
    for image in pixels:
        blue_green_red = np.ascontiguousarray(image[..., ::-1])  # as `cv2.imread` gives it
        network.setInput(cv2.dnn.blobFromImage(blue_green_red, 1.0, None, (104, 117, 123), swapRB=False, crop=False))
        for name, output in zip(names, network.forward(names)):
            found[name].append(output[0])
    found = {name: np.stack(outputs) for name, outputs in found.items()}
    found["map"] = found.pop("inception_5b/output").transpose(0, 2, 3, 1)
    return found


# -------------------------------------------------------------------------------------------------------------- TF-slim

SLIM_STEM = (("Conv2d_1a_7x7", 64, 3, 7), ("Conv2d_2b_1x1", 64, 64, 1), ("Conv2d_2c_3x3", 192, 64, 3))
SLIM_MODULES = [f"Mixed_{name}" for name in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")]
SLIM_BRANCHES = (
    "Branch_0/Conv2d_0a_1x1",
    "Branch_1/Conv2d_0a_1x1",
    "Branch_1/Conv2d_0b_3x3",
    "Branch_2/Conv2d_0a_1x1",
    "Branch_2/Conv2d_0b_3x3",
    "Branch_3/Conv2d_0b_1x1",
)


def slim_tensors(classes=1001, seed=2):
    """Returns `{variable: array}` of TF-slim's checkpoint."""
    draws, found = Draws(seed), {}

    def convolution(scope, filters, channels, size):
        kernel, mean, variance = draws.normalized_kernel(filters, channels, size)
        found[f"{scope}/weights"] = kernel.transpose(2, 3, 1, 0)
        found[f"{scope}/BatchNorm/beta"] = draws.normal(filters, std=0.3)
        found[f"{scope}/BatchNorm/moving_mean"] = mean
        found[f"{scope}/BatchNorm/moving_variance"] = variance

    for scope, *sizes in SLIM_STEM:
        convolution(f"InceptionV1/{scope}", *sizes)
    for scope, module in zip(SLIM_MODULES, MODULES):
        for branch, sizes in zip(SLIM_BRANCHES, branches(module, 3)):
            if (scope, branch) == ("Mixed_5b", "Branch_2/Conv2d_0b_3x3"):
                branch = "Branch_2/Conv2d_0a_3x3"
            convolution(f"InceptionV1/{scope}/{branch}", *sizes)
    found["InceptionV1/Logits/Conv2d_0c_1x1/weights"] = draws.normal(1, 1, 1024, classes, std=0.1)
    found["InceptionV1/Logits/Conv2d_0c_1x1/biases"] = draws.normal(classes, std=0.5)
    return found


def tf_slim_outputs(tf, tensors, pixels):
    """Runs TF-slim's network: a dict of the softmax "main" and of the map of `Mixed_5c`.

    At other sizes than 224 slim has no softmax (its pooling is 7x7); the mean of the map then takes that place.
    """
    # TensorFlow 2.21 looks for the layers of batch normalization where tf_keras no longer has them.
    import tf_keras.src.legacy_tf_layers as legacy
    import tf_keras.src.legacy_tf_layers.normalization as normalization

    sys.modules["tf_keras.legacy_tf_layers"] = legacy
    sys.modules["tf_keras.legacy_tf_layers.normalization"] = normalization
    import tf_slim
    from tf_slim.nets import inception_v1

    inputs = (pixels.astype("float32") / 255 - 0.5) * 2
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        placeholder = tf.compat.v1.placeholder(tf.float32, inputs.shape)
        with tf_slim.arg_scope(inception_v1.inception_v1_arg_scope()):
            if pixels.shape[1] == 224:
                _, ends = inception_v1.inception_v1(placeholder, num_classes=1001, is_training=False)
            else:
                with tf_slim.arg_scope([tf_slim.batch_norm], is_training=False):
                    _, ends = inception_v1.inception_v1_base(placeholder)
        variables = {variable.op.name: variable for variable in tf.compat.v1.global_variables()}
        assert set(variables) <= set(tensors)
        for name, variable in variables.items():
            variable.load(tensors[name], session)
        found = {"map": session.run(ends["Mixed_5c"], {placeholder: inputs})}
        if "Predictions" in ends:
            found["main"] = session.run(ends["Predictions"], {placeholder: inputs})
            return found
    kernel, bias = (tensors[f"InceptionV1/Logits/Conv2d_0c_1x1/{name}"] for name in ("weights", "biases"))
    logits = found["map"].mean((1, 2)) @ kernel[0, 0] + bias
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return {**found, "main": exponentials / exponentials.sum(1, keepdims=True)}


def write_checkpoint(tf, path, tensors, version=1):
    """Writes a TensorFlow checkpoint of the first format (one file, as published) or of the second."""
    names = list(tensors)
    if version == 1:
        tf.raw_ops.Save(filename=str(path), tensor_names=names, data=[tf.constant(tensors[name]) for name in names])
    else:
        values = [tf.constant(tensors[name]) for name in names]
        tf.raw_ops.SaveV2(prefix=str(path), tensor_names=names, shape_and_slices=[""] * len(names), tensors=values)


# ---------------------------------------------------------------------------------------------------------- torchvision

TORCHVISION_STEM = (("conv1", 64, 3, 7), ("conv2", 64, 64, 1), ("conv3", 192, 64, 3))
TORCHVISION_BRANCHES = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")


def torchvision_tensors(classes=1000, seed=3):
    """Returns `{parameter or buffer: array}` of torchvision's state dict."""
    draws, found = Draws(seed), {}

    def convolution(name, filters, channels, size):
        kernel, mean, variance = draws.normalized_kernel(filters, channels, size)
        found[f"{name}.conv.weight"] = kernel
        found[f"{name}.bn.weight"] = draws.uniform(0.5, 1.5, filters)
        found[f"{name}.bn.bias"] = draws.normal(filters, std=0.3)
        found[f"{name}.bn.running_mean"] = mean
        found[f"{name}.bn.running_var"] = variance
        found[f"{name}.bn.num_batches_tracked"] = np.asarray(1_000, "int64")

    def linear(name, outputs, inputs, std):
        found[f"{name}.weight"] = draws.normal(outputs, inputs, std=std)
        found[f"{name}.bias"] = draws.normal(outputs, std=0.5)

    for name, *sizes in TORCHVISION_STEM:
        convolution(name, *sizes)
    for module in MODULES:
        for branch, sizes in zip(TORCHVISION_BRANCHES, branches(module, 3)):
            convolution(f"inception{module}.{branch}", *sizes)
    for name, channels in (("aux1", 512), ("aux2", 528)):
        convolution(f"{name}.conv", 128, channels, 1)
        linear(f"{name}.fc1", 1024, 2048, math.sqrt(2 / 2048))
        linear(f"{name}.fc2", classes, 1024, 0.08)
    linear("fc", classes, 1024, 0.05)
    return found


def import_torchvision(torch):
    """Imports torchvision's GoogLeNet, also where the compiled operators, which it does without, do not fit."""
    text = pathlib.Path(importlib.util.find_spec("torchvision").origin).with_name("_meta_registrations.py").read_text()
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in {*re.findall(r'"torchvision::(\w+)"', text), *re.findall(r'register_meta\("(\w+)"', text)}:
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}() -> Tensor")
    from torchvision.models.googlenet import GoogLeNet

    return GoogLeNet, library  # the operators live as long as the library


def torchvision_outputs(torch, tensors, pixels):
    """Runs torchvision's network as its pretrained one: a dict of the softmaxes, and of the map of 5b."""
    GoogLeNet, _library = import_torchvision(torch)  # noqa: N806, torchvision's class
    network = GoogLeNet(num_classes=len(tensors["fc.bias"]), aux_logits=True, transform_input=True, init_weights=False)
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}, strict=True)
    network.eval()
    maps = {}
    for module in ("inception4a", "inception4d", "inception5b"):
        getattr(network, module).register_forward_hook(
            lambda _module, _inputs, output, module=module: maps.update({module: output})
        )
    normalized = (pixels.astype("float32") / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.no_grad():
        logits = {"main": network(torch.from_numpy(normalized.transpose(0, 3, 1, 2).astype("float32")))}
        logits |= {"aux1": network.aux1(maps["inception4a"]), "aux2": network.aux2(maps["inception4d"])}
        found = {name: torch.softmax(values, 1).numpy() for name, values in logits.items()}
    return {**found, "map": maps["inception5b"].numpy().transpose(0, 2, 3, 1)}
