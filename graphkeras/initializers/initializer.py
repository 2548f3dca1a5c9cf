"""Base of initializers."""

from __future__ import annotations

from typing import Any


class Initializer:
    """Makes the first values of a variable: called with a shape and a dtype, returns a tensor.

    Example:
        >>> import graphkeras as keras
        >>> class Tenths(keras.initializers.Initializer):
        ...     def __call__(self, shape, dtype=None):
        ...         return keras.ops.full(shape, 0.1, dtype=dtype)
        >>> Tenths()((2,)).shape
        (2,)
    """

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        raise NotImplementedError(
            f"{type(self).__name__} must implement `__call__(self, shape, dtype=None)` and return a tensor."
        )

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        return cls(**config)

    def clone(self) -> Initializer:
        """A new initializer with the same arguments; one with `seed=None` draws another seed."""
        return type(self).from_config(self.get_config())
