"""Optional dependencies: imported when used, with an error that names what to install."""

from __future__ import annotations

import importlib
from typing import Any

# module -> (name on the package index, extra of this package)
_PACKAGES = {
    "PIL.Image": ("Pillow", "images"),
    "pydot": ("pydot", "plot"),
    "sklearn": ("scikit-learn", "sklearn"),
}


def require(module: str, what: str) -> Any:
    """An optional module.

    Args:
        module: "PIL.Image", "pydot" or "sklearn".
        what: what needs it, for the message.

    Raises:
        ImportError: when it is not installed; names the package and the extra.
    """
    package, extra = _PACKAGES[module]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{what} needs {package}, which is not installed. Install it with `pip install graphkeras[{extra}]` or "
            f"`pip install {package}`."
        ) from error
