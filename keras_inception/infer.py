"""Models that serve: one head of a trained GoogLeNet, without what training alone needs."""

from keras_inception.heads import MAIN
from keras_inception.model import InceptionModel


def inference_model(model, head=MAIN):
    """Returns the model of one head, which shares the trained model's layers and variables.

    Args:
        model: A model of several named outputs: just built, trained, or loaded from a `.keras` file.
        head: The output to keep. `"main"` is the classifier of the paper's tests; `"aux1"` is the network cut after
            module 4a, `"aux2"` after 4d.

    Returns:
        An `InceptionModel` of one output, `(batch, classes)`, not compiled, without any layer that the head does not
        need. Its variables are those of `model`, not copies: training either one changes both.

    Raises:
        ValueError: The model has no such head.
    """
    names = list(model.output_names)
    if head not in names:
        raise ValueError(f"`head` must be one of the model's outputs, {names}. Received: head={head!r}")
    return InceptionModel(
        model.inputs,
        model.outputs[names.index(head)],
        name=model.name if head == MAIN else f"{model.name}_{head}",
        architecture=getattr(model, "architecture", None),
        class_names=getattr(model, "class_names", None),
        preprocessing=getattr(model, "preprocessing", "inception"),
    )
