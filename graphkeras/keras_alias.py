"""`install_as_keras`: programs and libraries that say `import keras` get graphkeras."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any

KERAS_VERSION = "3.15.1"  # of the API that graphkeras follows; libraries look at it


def install_as_keras() -> types.ModuleType:
    """Make `import keras`, `import keras.layers`, `from keras.models import Model` ... give graphkeras.

    It holds for this process only, from this call on. The classes are the same objects under both names. The module
    `keras` has the `__version__` of the Keras whose API graphkeras follows, because libraries look at it.

    Returns:
        the module that is now called `keras`.

    Raises:
        RuntimeError: the real Keras has been imported already, so that two kinds of layers would meet.

    Example:

    >>> import graphkeras
    >>> keras = graphkeras.install_as_keras()
    >>> from keras.layers import Dense
    >>> Dense is graphkeras.layers.Dense
    True
    """
    present = sys.modules.get("keras")
    if isinstance(present, _Keras):
        return present
    if present is not None:
        raise RuntimeError(
            f"install_as_keras() must be called before anything imports keras, but keras was imported already (from "
            f"{getattr(present, '__file__', 'an unknown place')}). Put `import graphkeras; "
            "graphkeras.install_as_keras()` at the top of the program."
        )
    sys.meta_path.insert(0, _Finder())
    return importlib.import_module("keras")


class _Keras(types.ModuleType):
    """The top module: graphkeras under another name and version."""

    __version__ = KERAS_VERSION

    @staticmethod
    def version() -> str:
        return KERAS_VERSION

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(sys.modules["graphkeras"], name)
        except AttributeError:
            raise AttributeError(f"module 'keras' (graphkeras) has no attribute {name!r}") from None

    def __dir__(self) -> list[str]:
        return dir(sys.modules["graphkeras"])


class _Finder(MetaPathFinder):
    """Finds `keras.x` where `graphkeras.x` is."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname == "keras":
            return ModuleSpec(fullname, _TopLoader(), is_package=True)
        if not fullname.startswith("keras."):
            return None
        own = "graphkeras" + fullname.removeprefix("keras")
        if importlib.util.find_spec(own) is None:
            return None
        return ModuleSpec(fullname, _Loader(own), is_package=True)


class _TopLoader(Loader):
    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return _Keras("keras", sys.modules["graphkeras"].__doc__)

    def exec_module(self, module: types.ModuleType) -> None:
        return None


class _Loader(Loader):
    """Hands out the module that exists under graphkeras' name, unchanged."""

    def __init__(self, own: str) -> None:
        self.own = own
        self.spec: Any = None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        module = importlib.import_module(self.own)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        module.__spec__ = self.spec  # the import system has put its own there
