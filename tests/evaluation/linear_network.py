"""A network with three heads that is traced at once."""

import keras

import keras_inception as ki

SIZE = 14  # 1/16 of the paper's: the scales are 16, 18, 20 and 22
CLASSES = 4


def build(seed, size=SIZE, classes=CLASSES, heads=("main", "aux1", "aux2"), activation="softmax", **options):
    """Returns an `InceptionModel` of linear heads on a map that knows left from right."""
    keras.utils.set_random_seed(seed)
    height, width = size if isinstance(size, tuple) else (size, size)
    image = keras.Input((height, width, 3))
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D((height // 2, width // 2))(image))
    outputs = []
    for name in heads:
        y = keras.layers.Dense(classes, kernel_initializer=keras.initializers.RandomNormal(stddev=2.0))(x)
        outputs.append(keras.layers.Activation(activation, name=name)(y))
    options = {"name": f"linear_{seed}", "preprocessing": "inception", **options}
    model = ki.InceptionModel(image, outputs if len(outputs) > 1 else outputs[0], **options)
    return ki.compile_model(model)
