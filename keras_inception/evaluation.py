"""How good a model is: the loss and the accuracies of each head."""


def evaluate(model, data, *, verbose=0):
    """Scores every head of a model on labelled images.

    Args:
        model: A compiled `InceptionModel`.
        data: What `model.evaluate` takes as `x`: batches of `(image, label)`.
        verbose: Keras's: 0 is silent, 1 shows a progress bar.

    Returns:
        A dict by output name; of each head the dict `{"loss", "accuracy", "top_5_accuracy"}`, the last one from 6
        classes up. Accuracies are fractions in [0, 1].
    """
    logs = model.evaluate(data, return_dict=True, verbose=verbose)
    return per_head(logs, model.output_names)


def per_head(logs, names, prefix=""):
    """Sorts Keras's logs by head.

    Args:
        logs: Dict of the names that Keras gives to losses and metrics, such as `main_accuracy`.
        names: The names of the outputs. With a single one, Keras does not write it before its metrics.
        prefix: What stands before every name, such as `"val_"`.

    Returns:
        A dict by output name of dicts by metric.
    """
    if len(names) == 1:
        return {names[0]: {key.removeprefix(prefix): value for key, value in logs.items() if key.startswith(prefix)}}
    starts = {name: f"{prefix}{name}_" for name in names}
    return {
        name: {key.removeprefix(start): value for key, value in logs.items() if key.startswith(start)}
        for name, start in starts.items()
    }
