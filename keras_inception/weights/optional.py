"""Libraries that a single reader needs, imported when that reader runs."""

import importlib
from typing import Any

from keras_inception.errors import MissingPackageError


def require(module: str, reason: str, package: str) -> Any:
    """Imports a library that the package itself can do without.

    Args:
        module: Name of the module, such as `"tensorflow"`.
        reason: What needs it; begins the error.
        package: What `pip install` is to be given.

    Returns:
        The module.

    Raises:
        MissingPackageError: It is not installed; the message says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{reason} needs the module `{module}`, which is not installed. Run `pip install {package}`."
        ) from error
