"""InputSpec: what a layer demands of its inputs."""

from __future__ import annotations

from typing import Any

from graphkeras.core import tree
from graphkeras.core.dtypes import standardize_dtype
from graphkeras.core.shapes import standardize_shape


class InputSpec:
    """Demands on one input tensor. Everything that is None is not checked.

    Args:
        dtype: expected dtype.
        shape: expected shape; None in it matches any extent.
        ndim, max_ndim, min_ndim: expected rank, or limits of it.
        axes: dict from axis to the extent expected there.
        allow_last_axis_squeeze: whether a last axis of extent 1 may be missing or extra.
        name: the input's name, for dict inputs and messages.
        optional: whether None is accepted in place of a tensor.

    Example:

    >>> import graphkeras as keras
    >>> keras.InputSpec(min_ndim=2, axes={-1: 4})
    InputSpec(min_ndim=2, axes={-1: 4})
    """

    def __init__(
        self,
        dtype: Any = None,
        shape: Any = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: dict[int, int | None] | None = None,
        allow_last_axis_squeeze: bool = False,
        name: str | None = None,
        optional: bool = False,
    ) -> None:
        self.dtype = None if dtype is None else standardize_dtype(dtype)
        self.shape = None if shape is None else standardize_shape(shape)
        self.ndim = ndim if self.shape is None else len(self.shape)
        self.max_ndim = max_ndim
        self.min_ndim = min_ndim
        self.name = name
        self.optional = optional
        self.allow_last_axis_squeeze = allow_last_axis_squeeze
        try:
            self.axes = {int(k): v for k, v in (axes or {}).items()}
        except (AttributeError, TypeError, ValueError):
            raise TypeError(f"Argument `axes` must be a dict with integer keys. Received: axes={axes}") from None
        limit = self.ndim or self.max_ndim
        if self.axes and limit is not None and max(self.axes) >= limit:
            raise ValueError(f"Axis {max(self.axes)} is greater than the maximum allowed value: {limit - 1}")

    def __repr__(self) -> str:
        names = ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes")
        return f"InputSpec({', '.join(f'{n}={getattr(self, n)}' for n in names if getattr(self, n))})"

    def get_config(self) -> dict[str, Any]:
        names = ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes", "optional")
        return {n: getattr(self, n) for n in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> InputSpec:
        return cls(**config)


def assert_input_compatibility(input_spec: Any, inputs: Any, layer_name: str) -> None:
    """Check a layer's inputs.

    Args:
        input_spec: an InputSpec or nested InputSpecs; None demands nothing.
        inputs: tensors, nested as the specs.
        layer_name: for messages.

    Raises ValueError that names the layer, the input, what is expected and what was received.
    """
    if not input_spec:
        return
    specs = tree.flatten(input_spec)
    tensors = _arrange(inputs, specs, layer_name)
    if len(tensors) != len(specs):
        raise ValueError(
            f'Layer "{layer_name}" expects {len(specs)} input(s), but it received {len(tensors)} input tensors. '
            f"Inputs received: {inputs}"
        )
    for index, (x, spec) in enumerate(zip(tensors, specs, strict=True)):
        if spec is None or (x is None and spec.optional):
            continue
        if not hasattr(x, "shape"):
            raise ValueError(
                f"Inputs to a layer should be tensors. Got '{x}' (of type {type(x)}) as input for layer '{layer_name}'."
            )
        problem = _problem(x, spec)
        if problem:
            label = f" with name '{spec.name}'" if spec.name else ""
            raise ValueError(
                f"Input {index}{label} of layer '{layer_name}' is incompatible with the layer: {problem}. "
                f"{_fix(x, spec)}"
            )


def _arrange(inputs: Any, specs: list[Any], layer_name: str) -> list[Any]:
    """The tensors in the order of the specs; a dict goes by the specs' names where all have one."""
    names = [getattr(s, "name", None) for s in specs]
    if not isinstance(inputs, dict) or not all(names):
        return tree.flatten(inputs)
    missing = [n for n, s in zip(names, specs, strict=True) if n not in inputs and not s.optional]
    if missing:
        raise ValueError(
            f"Missing data for input {', '.join(map(repr, missing))} of layer '{layer_name}'. You passed a data "
            f"dictionary with keys {list(inputs)}. Expected the following keys: {names}"
        )
    return [inputs.get(n) for n in names]


def _problem(x: Any, spec: InputSpec) -> str | None:
    """What is wrong with a tensor, or None."""
    shape = standardize_shape(x.shape)
    rank = len(shape)
    if spec.ndim is not None and not spec.allow_last_axis_squeeze and rank != spec.ndim:
        return f"expected ndim={spec.ndim}, found ndim={rank}. Full shape received: {shape}"
    if spec.max_ndim is not None and rank > spec.max_ndim:
        return f"expected max_ndim={spec.max_ndim}, found ndim={rank}. Full shape received: {shape}"
    if spec.min_ndim is not None and rank < spec.min_ndim:
        return f"expected min_ndim={spec.min_ndim}, found ndim={rank}. Full shape received: {shape}"
    if spec.dtype is not None and standardize_dtype(x.dtype) != spec.dtype:
        return f"expected dtype={spec.dtype}, found dtype={standardize_dtype(x.dtype)}"
    for axis, extent in spec.axes.items():
        if extent is not None and shape[axis] not in (extent, None):
            return f"expected axis {axis} of input shape to have value {extent}, but received input with shape {shape}"
    if spec.shape is not None and not _shapes_agree(spec, shape):
        return f"expected shape={spec.shape}, found shape={shape}"
    return None


def _fix(x: Any, spec: InputSpec) -> str:
    """What to do about a problem."""
    rank = len(x.shape)
    if spec.ndim == rank + 1 or (spec.min_ndim or 0) == rank + 1:
        return "An axis is missing: often that of the batch (`x[None]`) or that of the channels (`x[..., None]`)."
    if (spec.ndim is not None and spec.ndim != rank) or (spec.min_ndim or 0) > rank or rank > (spec.max_ndim or rank):
        return "Reshape the data, or use a layer for inputs of this rank."
    if spec.dtype is not None and standardize_dtype(x.dtype) != spec.dtype:
        return f"Cast the data to {spec.dtype}."
    return "Give data of the shape that the layer was built for, or make a new layer: its weights have that shape."


def _shapes_agree(spec: InputSpec, shape: tuple[int | None, ...]) -> bool:
    wanted = spec.shape
    assert wanted is not None
    if spec.allow_last_axis_squeeze:
        shape = shape[:-1] if shape and shape[-1] == 1 else shape
        wanted = wanted[:-1] if wanted and wanted[-1] == 1 else wanted
    return all(w is None or s is None or w == s for w, s in zip(wanted, shape, strict=False))
