"""EinsumDense: a dense layer whose product is any einsum equation."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from graphkeras import ops
from graphkeras.layers.convolutional.base import identifiers
from graphkeras.layers.input_spec import InputSpec
from graphkeras.layers.quantized import QuantizedLayer

_FORM = re.compile(r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?")


class EinsumShapes(NamedTuple):
    """What an equation means for inputs of a given shape."""

    kernel: tuple[int, ...]
    bias: tuple[int, ...] | None
    output: tuple[int | None, ...]
    input_axes: list[int]  # axes of the kernel that are summed
    output_axes: list[int]  # axes of the kernel that reach the output


def parse_equation(equation: str) -> tuple[str, str, str, str]:
    """(input letters, kernel letters, output letters, where the ellipsis stands: "left", "right" or "")."""
    match = _FORM.fullmatch(equation.replace(" ", ""))
    if match:
        left, inputs, right, kernel, out_left, outputs, out_right = match.groups()
        if bool(left) == bool(out_left) and bool(right) == bool(out_right) and not (left and right):
            return inputs, kernel, outputs, "left" if left else "right" if right else ""
    raise ValueError(
        f"Invalid einsum equation '{equation}'. Equations must be in the form [X],[Y]->[Z], ...[X],[Y]->...[Z], or "
        "[X]...,[Y]->[Z]...."
    )


def analyze(equation: str, bias_axes: str | None, input_shape: Any, output_shape: Any) -> EinsumShapes:
    """Shapes of kernel, bias and output.

    output_shape: sizes of the output letters but the batch axis; None takes the input's size of the same letter.
    """
    inputs, kernel, outputs, ellipsis = parse_equation(equation)
    elided = len(input_shape) - len(inputs)
    if elided < 0:
        raise ValueError(
            f"Equation '{equation}' needs inputs of rank {len(inputs)}{' or more' * bool(ellipsis)}. "
            f"Received inputs of shape {tuple(input_shape)}"
        )
    full = _full_output_shape(input_shape, output_shape, elided, ellipsis)
    skip = elided if ellipsis == "left" else 0
    in_sizes = {c: input_shape[i + skip] for i, c in enumerate(inputs)}
    out_sizes = _output_sizes(equation, outputs, full, skip, in_sizes)
    if not set(outputs) <= set(inputs + kernel):
        lost = sorted(set(outputs) - set(inputs + kernel))
        raise ValueError(
            f"Dimension '{lost[0]}' was specified in the output '{outputs}' but has no corresponding dim in the input "
            f"spec '{inputs}' or weight spec '{kernel}'. Equation: '{equation}'"
        )
    shape = []
    for c in kernel:
        size = out_sizes.get(c) if out_sizes.get(c) is not None else in_sizes.get(c)
        if size is None:
            raise ValueError(
                f"Weight dimension '{c}' did not have a match in either the input spec '{inputs}' or the output spec "
                f"'{outputs}'. For this layer, the weight must be fully specified. Equation: '{equation}', inputs of "
                f"shape {tuple(input_shape)}, output_shape={output_shape}"
            )
        shape.append(size)
    summed = [i for i, c in enumerate(kernel) if c not in outputs]
    kept = [i for i, c in enumerate(kernel) if c in outputs]
    bias = _bias_shape(bias_axes, outputs, out_sizes, elided if ellipsis == "right" else 0)
    return EinsumShapes(tuple(shape), bias, tuple(full), summed, kept)


def _full_output_shape(input_shape: Any, output_shape: Any, elided: int, ellipsis: str) -> list[int | None]:
    named = [output_shape] if isinstance(output_shape, int) else list(output_shape)
    if ellipsis == "left" and elided:
        return [*input_shape[:elided], *named]
    return [input_shape[0], *named, *(input_shape[len(input_shape) - elided :] if ellipsis == "right" else ())]


def _output_sizes(
    equation: str, outputs: str, full: list[int | None], skip: int, in_sizes: dict[str, int | None]
) -> dict[str, int | None]:
    """Size of each output letter; fills in, in `full`, those that the input knows."""
    if len(full) < len(outputs) + skip:
        raise ValueError(
            f"Equation '{equation}' has the output letters '{outputs}', but `output_shape` names only {full[skip:]} "
            "(with the batch axis). Give a size, or None, for each letter."
        )
    sizes: dict[str, int | None] = {}
    for i, c in enumerate(outputs):
        size = full[i + skip]
        if size is not None and c in in_sizes and in_sizes[c] != size:
            raise ValueError(
                f"Input shape and output shape do not match at shared dimension '{c}'. Input shape is {in_sizes[c]}, "
                f"and output shape is {size}. Equation: '{equation}'"
            )
        if size is None:
            size = full[i + skip] = in_sizes.get(c)
        sizes[c] = size
    return sizes


def _bias_shape(
    bias_axes: str | None, outputs: str, sizes: dict[str, int | None], trailing: int
) -> tuple[int, ...] | None:
    if bias_axes is None:
        return None
    for c in bias_axes:
        if c not in outputs:
            raise ValueError(f"Bias dimension '{c}' was requested, but is not part of the output spec '{outputs}'")
    first = min(outputs.index(c) for c in bias_axes)
    return (*(sizes[c] if c in bias_axes else 1 for c in outputs[first:]), *(1,) * trailing)  # type: ignore[arg-type]


class EinsumDense(QuantizedLayer):
    """Dense layer with an einsum equation: `activation(einsum(equation, inputs, kernel) + bias)`.

    Args:
        equation: such as "abc,cd->abd" or "...x,xy->...y"; the ellipsis stands for any number of axes.
        output_shape: sizes of the output's named axes without the batch axis; None takes the input's size.
        activation: function or its name; default none.
        bias_axes: letters of the output along which there is a bias; default no bias.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint: as for `Dense`.
        lora_rank, lora_alpha, quantization_config: as for `Dense`.

    Raises:
        ValueError: for an equation of another form, or sizes that contradict it.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layer = layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 5), bias_axes="de")
        >>> layer(np.ones((2, 3, 4), "float32")).shape, tuple(layer.kernel.shape), tuple(layer.bias.shape)
        ((2, 3, 2, 5), (4, 2, 5), (2, 5))
    """

    CONFIG = ("equation", "activation", "bias_axes", *identifiers("kernel", "bias"))

    def __init__(
        self,
        equation: str,
        output_shape: Any,
        activation: Any = None,
        bias_axes: str | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.partial_output_shape = (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
        self.store(
            equation=equation,
            activation=activation,
            bias_axes=bias_axes,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            quantization_config=quantization_config,
        )
        self.store_lora(lora_rank, lora_alpha)

    def _analyze(self, input_shape: Any) -> EinsumShapes:
        return analyze(self.equation, self.bias_axes, input_shape, self.partial_output_shape)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shapes = self._analyze(input_shape)
        self._input_rank = len(input_shape)
        self.add_matrix(shapes.kernel, initializer=self._fan_aware_initializer(shapes))
        self.bias = None if shapes.bias is None else self.add_parameter("bias", shapes.bias)
        self.input_spec = InputSpec(ndim=len(input_shape))
        self.finish_build()

    def _fan_aware_initializer(self, shapes: EinsumShapes) -> Any:
        """The kernel's initializer, told which axes are inputs: the last two need not be."""
        from graphkeras.initializers import VarianceScaling

        initializer = self.kernel_initializer
        if not isinstance(initializer, VarianceScaling) or None not in (
            initializer.input_axes,
            initializer.output_axes,
        ):
            return initializer
        config = {**initializer.get_config(), "input_axes": shapes.input_axes, "output_axes": shapes.output_axes}
        return type(initializer).from_config(config)

    def reduced_axes(self) -> tuple[int, ...]:
        _, kernel, outputs, _ = parse_equation(self.equation)
        return tuple(i for i, c in enumerate(kernel) if c not in outputs)

    def _kept_order(self) -> tuple[str, str, tuple[int, ...]]:
        """Kernel letters that reach the output, in both orders, and the output's shape with 1 for other letters."""
        inputs, kernel, outputs, ellipsis = parse_equation(self.equation)
        sizes = dict(zip(kernel, self._matrix_shape, strict=True))
        extra = (1,) * (self._input_rank - len(inputs)) if ellipsis else ()
        shape = tuple(sizes.get(c, 1) for c in outputs)
        shape = (*extra, *shape) if ellipsis == "left" else (*shape, *extra)
        return "".join(c for c in kernel if c in outputs), "".join(c for c in outputs if c in kernel), shape

    def keep_scale(self, scale: Any) -> Any:
        """As the output's axes are, so that it could divide the output."""
        mine, theirs, shape = self._kept_order()
        scale = ops.squeeze(scale, axis=self.reduced_axes())
        return ops.reshape(ops.transpose(scale, [mine.index(c) for c in theirs]) if theirs else scale, shape)

    def broadcast_scale(self, scale: Any) -> Any:
        mine, theirs, _ = self._kept_order()
        sizes = dict(zip(parse_equation(self.equation)[1], self._matrix_shape, strict=True))
        scale = ops.reshape(scale, [sizes[c] for c in theirs])
        return super().broadcast_scale(ops.transpose(scale, [theirs.index(c) for c in mine]) if theirs else scale)

    @property
    def kernel(self) -> Any:
        """The weights, including the low-rank addition if there is one."""
        return self._matrix()

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        letters, _, outputs, ellipsis = parse_equation(self.equation)
        first = len(inputs.shape) - len(letters) if ellipsis == "left" else 0
        summed = tuple(first + i for i, c in enumerate(letters) if c not in outputs)
        x = ops.einsum(self.equation, self.rounded_inputs(inputs, axis=summed), self.kernel)
        if self.bias is not None:
            x = ops.add(x, self.bias)
        return x if self.activation is None else self.activation(x)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return self._analyze(input_shape).output

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_shape": self.partial_output_shape}
