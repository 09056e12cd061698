"""What the library refuses, and what ends a training or a search before its time."""


class InputError(ValueError):
    """An argument, a file or a configuration that the library refuses, with the rule, the reason and the way out."""


class MissingPackageError(InputError, ImportError):
    """A library that only this use needs is not installed; the message says what to install."""


class MissingFileError(InputError, FileNotFoundError):
    """There is no file where one was named."""


class DownloadError(InputError, ConnectionError):
    """A published file could not be downloaded."""


class StoppedError(RuntimeError):
    """A training, search or study that ended before its time; what it had finished is kept."""
