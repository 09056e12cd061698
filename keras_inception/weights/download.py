"""Fetches published files into Keras's cache, `~/.keras/models`, and checks them."""

import hashlib
import os
import urllib.error
from typing import Any

import keras

from keras_inception.errors import DownloadError, InputError
from keras_inception.weights.sources import Source


def get_file(name: str, address: str, what: str, **options: Any) -> str:
    """Downloads a file into Keras's cache, unless it is there, as `keras.utils.get_file` does; returns its path.

    Args:
        name: Name of the file in the cache.
        address: Where it is offered.
        what: What it holds, for the error.
        **options: Further arguments of `keras.utils.get_file`.

    Raises:
        DownloadError: The address does not answer, or stopped answering.
    """
    try:
        return keras.utils.get_file(name, address, cache_subdir="models", **options)
    except Exception as error:
        # Keras makes a plain `Exception` of an address that does not answer. What is no such thing goes on.
        cause = error.__context__ if type(error) is Exception else error
        if not isinstance(cause, (urllib.error.URLError, ConnectionError, TimeoutError)):
            raise
        raise DownloadError(f"{what} could not be downloaded: {error}.") from error


def fetch(source: Source) -> str:
    """Downloads the file of a `Source`, with a progress bar, unless the cache has it.

    Returns:
        The path of the file, whose hash is the published one where the publisher gives one.

    Raises:
        DownloadError: The file could not be downloaded.
        InputError: What was downloaded has another hash; it is not kept.
    """
    path, received = "", ""
    for again in (False, True):  # the cache may hold half a file, of a process that was killed
        try:
            what = f"The weights of {source.publisher}"
            path = get_file(os.path.basename(source.address), source.address, what, force_download=again)
        except DownloadError as error:
            raise DownloadError(f"{error} {by_hand(source)}") from error
        if not source.hash_algorithm:
            return path
        with open(path, "rb") as file:
            received = hashlib.file_digest(file, source.hash_algorithm).hexdigest()
        if received.startswith(source.hash_start):
            return path
    os.remove(path)
    raise InputError(
        f"The file from {source.address} must have a {source.hash_algorithm} of {source.hash_start}..., as its "
        f"publisher says; it is another file or was damaged on the way, and was not kept. {by_hand(source)} "
        f"Received: {source.hash_algorithm}={received}"
    )


def by_hand(source: Source) -> str:
    """Returns the sentence that tells how to do without `fetch`."""
    return (
        f"Download {source.address} in another way and give the file: "
        f'`load_published_weights(model, "{source.name}", path)`.'
    )
