"""Config: a dict with attribute access."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any


class Config:
    """Settings as attributes, convertible to JSON.

    Args:
        kwargs: the settings.

    Example:

    >>> from graphkeras.utils import Config
    >>> config = Config(rate=0.1)
    >>> config.layers = 2
    >>> config.freeze()
    >>> config.as_dict()
    {'rate': 0.1, 'layers': 2}
    """

    def __init__(self, **kwargs: Any) -> None:
        object.__setattr__(self, "_config", dict(kwargs))
        object.__setattr__(self, "_frozen", False)

    def _check_open(self) -> None:
        if self._frozen:
            raise ValueError("Cannot mutate attribute(s) because the config is frozen. Call `unfreeze()` first.")

    def __setattr__(self, name: str, value: Any) -> None:
        self._check_open()
        self._config[name] = value

    __setitem__ = __setattr__

    def __getitem__(self, name: str) -> Any:
        return self._config[name]

    def __delitem__(self, name: str) -> None:
        self._check_open()
        del self._config[name]

    __delattr__ = __delitem__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("_config", "_frozen"):
            raise AttributeError(name)
        if name not in self._config:
            import difflib  # only for a message

            near = difflib.get_close_matches(name, self._config, n=1)
            hint = f" Did you mean: {near[0]!r}?" if near else ""
            raise AttributeError(f"The config has no setting {name!r}; it has {list(self._config)}.{hint}")
        return self._config[name]

    def __contains__(self, name: str) -> bool:
        return name in self._config

    def __iter__(self) -> Iterator[str]:
        return iter(self._config)

    def __len__(self) -> int:
        return len(self._config)

    def __repr__(self) -> str:
        return f"<Config {self._config}>"

    @property
    def frozen(self) -> bool:
        """Whether settings can no longer be changed."""
        return self._frozen

    def freeze(self) -> None:
        object.__setattr__(self, "_frozen", True)

    def unfreeze(self) -> None:
        object.__setattr__(self, "_frozen", False)

    def keys(self) -> Any:
        return self._config.keys()

    def values(self) -> Any:
        return self._config.values()

    def items(self) -> Any:
        return self._config.items()

    def get(self, keyname: str, value: Any = None) -> Any:
        """A setting, or `value` where there is none."""
        return self._config.get(keyname, value)

    def pop(self, *args: Any) -> Any:
        """Remove a setting and return it."""
        self._check_open()
        return self._config.pop(*args)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several settings, from a dict or by name."""
        self._check_open()
        self._config.update(*args, **kwargs)

    def as_dict(self) -> dict[str, Any]:
        return copy.copy(self._config)

    def to_json(self) -> str:
        return json.dumps(self._config)
