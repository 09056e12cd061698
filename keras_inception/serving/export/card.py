"""The page that says what a version of a served model is."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

_SAYS = {
    "serving_default": "classifies decoded images of any height and width, red, green, blue in [0, 255]",
    "serving_uint8": "the same for images of 8 bits a channel",
    "serving_bytes": "classifies JPEG, PNG, BMP, GIF and WebP files",
    "features": "the pooled features below the classifier",
    "all_heads": "the softmax of each head",
    "metadata": "class names, preprocessing, training",
}
_BAD_IMAGE = {
    "error": "A request with an image that cannot be read fails with the index of that image.",
    "mask": "An image that cannot be read has NaN and empty class names in its row of the answer.",
}
_RESIZE = {
    "crop": "The graph cuts the largest centred window of its shape out of an image and scales it, antialiased.",
    "pad": "The graph scales an image, antialiased, to fit into its shape, between black bars.",
    "stretch": "The graph scales an image, antialiased, to the network's shape; the image's aspect ratio changes.",
}
_PAGE = """# {name}

GoogLeNet (`{architecture}`) for {classes} classes; images of {size}, preprocessing `{preprocessing}`, {precision}.
Written by {versions}.

| signature | inputs | outputs | what it does |
|---|---|---|---|
{signatures}

{resize} CMYK
becomes RGB, 16 bits become 8, greyscale is repeated, alpha is dropped, and files are turned as their EXIF
orientation says.
{bad_image}{exits}

```sh
tensorflow_model_server --rest_api_port=8501 --model_name={name} --model_base_path=/models/{name}
```

## Classes

{some_classes}. All of them, in order: `assets/class_names.txt`.

## Training

{training}
"""


def text(name: str, class_names: list[str], facts: Mapping[str, Any], signatures: Mapping[str, Any]) -> str:
    """Returns the model card, Markdown, of a model that is served under a name, with `facts` as in `metadata`."""
    rows = []
    for signature, function in signatures.items():
        inputs = {spec.name: spec for spec in function.structured_input_signature[0]}
        cells = (f"`{signature}`", _tensors(inputs), _tensors(function.structured_outputs), _SAYS[signature])
        rows.append(f"| {' | '.join(cells)} |")
    return _PAGE.format(
        **{key: facts[key] for key in ("architecture", "preprocessing", "precision")},
        name=name,
        classes=len(class_names),
        size="x".join(map(str, facts["image_shape"])),
        versions=", ".join(
            f"{package} {metadata.version(package)}" for package in ("keras-inception", "keras", "tensorflow")
        ),
        signatures="\n".join(rows),
        resize=_RESIZE[facts["resize"]],
        bad_image=_BAD_IMAGE[facts["on_bad_image"]],
        exits=_exits(facts.get("exit_names", ())),
        some_classes=", ".join(class_names[:20]) + (", ..." if len(class_names) > 20 else ""),
        training="Nothing is known of it." if facts["training"] == "{}" else f"```json\n{facts['training']}\n```",
    )


def _exits(names: Sequence[str]) -> str:
    """Returns what `exit` in the answers means; nothing without early exits."""
    if not names:
        return ""
    numbers = ", ".join(f"{number} is `{name}`" for number, name in enumerate(names))
    return (
        f"\n\nAn image leaves at the first head that is sure enough, and `exit` says at which: {numbers}. What a head\n"
        "answers may be mixed from the heads so far, as they were calibrated, so that probabilities differ from those\n"
        "of an export without early exits."
    )


def _tensors(tensors: Mapping[str, Any]) -> str:
    """Returns names, shapes and types of tensors or specifications as a text."""
    shapes = {name: ["any" if side is None else str(side) for side in tensor.shape] for name, tensor in tensors.items()}
    return "; ".join(f"`{name}` ({', '.join(shapes[name])}) {tensor.dtype.name}" for name, tensor in tensors.items())
