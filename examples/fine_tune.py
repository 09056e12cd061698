"""Fine-tunes a network on a folder of class folders: first the classifier, then the upper half of the trunk.

    python examples/fine_tune.py photographs/ flowers.keras
    python examples/fine_tune.py photographs/ flowers.keras --weights bvlc_googlenet.caffemodel

Without `--weights` BVLC's ImageNet weights are downloaded once.
"""

import argparse

import keras

import keras_inception as ki


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tune a network on a folder of class folders.")
    parser.add_argument("folder", help="a folder of class folders")
    parser.add_argument("out", help="the .keras file to write")
    parser.add_argument("--weights", default="imagenet", help="a publisher's file instead of a download")
    parser.add_argument("--epochs", type=int, default=5, help="of each of the two steps")
    parser.add_argument("--image-size", type=int, help="height and width of the network's input; 224 for large images")
    arguments = parser.parse_args()

    augmentation = ki.recipes.Augmentation(flip=True, crop_area=(0.5, 1.0))
    # BVLC's network wants its own preprocessing: blue, green, red, minus the mean of ImageNet.
    data = ki.data.load(
        arguments.folder, image_size=arguments.image_size, preprocessing="caffe", augmentation=augmentation
    )
    model = ki.GoogLeNet(
        weights=arguments.weights,
        input_shape=data.image_shape,
        classes=len(data.class_names),
        class_names=data.class_names,
        aux_heads=False,
    )

    for through, rate in (("inception_5b", 1e-3), ("inception_4b", 1e-4)):
        ki.freeze(model, through=through)
        ki.compile_model(model, keras.optimizers.Adam(rate), label_smoothing=0.1)
        model.fit(data.train, validation_data=data.validation, epochs=arguments.epochs, shuffle=False)
    if data.test is not None:
        print("test:", ki.evaluation.evaluate(model, data.test))
    model.save(arguments.out)


if __name__ == "__main__":
    main()
