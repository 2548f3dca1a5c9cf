"""What the layers that merge several tensors share: checks of shapes, ranks and masks."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.core.masking import get_keras_mask, set_keras_mask
from graphkeras.layers.configured import ConfiguredLayer


def is_shape_list(shapes: Any) -> bool:
    return isinstance(shapes, (list, tuple)) and len(shapes) > 0 and all(isinstance(s, (list, tuple)) for s in shapes)


def check_masks(layer: Any, inputs: Any, mask: Any) -> None:
    """Raises ValueError unless `mask` is a list as long as the list `inputs`."""
    for name, value in (("mask", mask), ("inputs", inputs)):
        if not isinstance(value, (tuple, list)):
            raise ValueError(f"`{name}` should be a list. Layer {layer.name} received: {name}={value}")
    if len(mask) != len(inputs):
        raise ValueError(
            f"The lists `inputs` and `mask` should have the same length. Layer {layer.name} received: inputs={inputs} "
            f"of length {len(inputs)}, and mask={mask} of length {len(mask)}"
        )


class Merge(ConfiguredLayer):
    """Base of the elementwise merging layers. A subclass writes `merge(a, b)`, or `_merge_function(inputs)`.

    Inputs of lower rank get axes of size 1 after the batch axis. The output's mask is the union of the inputs' masks
    if all of them have one, else there is none.
    """

    INPUTS: int | None = None  # how many inputs, if that is fixed

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        if not is_shape_list(input_shape):
            raise ValueError(
                f"A merge layer should be called on a list of at least 1 input. Layer {self.name} received: "
                f"input_shape={input_shape} (not a list of shapes)"
            )
        if self.INPUTS is not None and len(input_shape) != self.INPUTS:
            raise ValueError(
                f"A `{type(self).__name__}` layer should be called on exactly {self.INPUTS} inputs. Layer {self.name} "
                f"received: input_shape={input_shape}"
            )
        self._check_shapes(input_shape)

    def _check_shapes(self, shapes: Any) -> None:
        batches = {s[0] for s in shapes if s} - {None}
        if len(batches) > 1:
            raise ValueError(
                f"Cannot merge tensors with different batch sizes. Layer {self.name} received tensors with shapes "
                f"{shapes}"
            )
        rank = max(len(s) for s in shapes)
        for axis in range(1, rank):
            sizes = {s[-axis] for s in shapes if len(s) > axis} - {None, 1}
            if len(sizes) > 1:
                raise ValueError(
                    f"Layer {self.name}: inputs have incompatible shapes. Received shapes {shapes}: axis {-axis} has "
                    f"sizes {sorted(sizes)}, and only equal sizes or 1 can be merged."
                )

    def call(self, inputs: Any) -> Any:
        if not isinstance(inputs, (list, tuple)):
            raise ValueError(
                f"A merge layer should be called on a list of inputs. Layer {self.name} received: inputs={inputs} "
                "(not a list of tensors)"
            )
        return self._merge_function(self._same_rank(inputs))

    def _same_rank(self, inputs: Any) -> list[Any]:
        rank = max(len(x.shape) for x in inputs)
        found = []
        for x in inputs:
            missing = rank - len(x.shape)
            if missing and x.shape:
                mask = get_keras_mask(x)
                x = ops.reshape(x, (x.shape[0], *(1,) * missing, *x.shape[1:]))
                set_keras_mask(x, mask)
            found.append(x)
        return found

    def _merge_function(self, inputs: list[Any]) -> Any:
        output = inputs[0]
        for x in inputs[1:]:
            output = self.merge(output, x)
        return output

    def merge(self, a: Any, b: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must implement `merge(a, b)` or `_merge_function(inputs)`.")

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        if mask is None:
            return None
        check_masks(self, inputs, mask)
        if any(m is None for m in mask):
            return None
        union = mask[0]
        for m in mask[1:]:
            union = ops.logical_or(union, m)
        return union


class MaskedMerge(Merge):
    """Base of merging layers in which a masked element does not compete with the others' elements."""

    def _merge_function(self, inputs: list[Any]) -> Any:
        output, mask = inputs[0], full_mask(inputs[0])
        for x in inputs[1:]:
            other = full_mask(x)
            if other is not None:
                x = ops.where(other, x, output)
            if mask is not None:
                output = ops.where(mask, output, x)
            mask = ops.logical_or(mask, other) if mask is not None and other is not None else None
            output = self.merge(output, x)
        if mask is not None:
            set_keras_mask(output, ops.any(mask, axis=-1))
        return output


def full_mask(x: Any) -> Any:
    """The mask of a tensor in the tensor's own shape, or None."""
    mask = get_keras_mask(x)
    return None if mask is None else ops.broadcast_to(ops.expand_dims(mask, -1), x.shape)
