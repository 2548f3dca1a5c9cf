"""Normalisation within each sample: over chosen axes, over groups of channels, by root mean square, to unit norm."""

from __future__ import annotations

import warnings
from typing import Any

from graphkeras import ops
from graphkeras.layers.arguments import axis_argument, check_axes
from graphkeras.layers.configured import ConfiguredLayer
from graphkeras.layers.input_spec import InputSpec
from graphkeras.layers.normalization.moments import at_least_float32, moments

AFFINE = (
    "center",
    "scale",
    "beta_initializer",
    "gamma_initializer",
    "beta_regularizer",
    "gamma_regularizer",
    "beta_constraint",
    "gamma_constraint",
)


def sorted_axes(axis: Any, shape: tuple[int | None, ...]) -> list[int]:
    """The axes of an `axis` argument, not negative, sorted."""
    check_axes(axis, shape)
    return sorted(a % len(shape) for a in (axis if isinstance(axis, (list, tuple)) else (axis,)))


class LayerNormalization(ConfiguredLayer):
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta` with the mean and variance of each sample's features.

    Ba, Kiros and Hinton, "Layer Normalization", 2016.

    Args:
        axis: axis or axes that are normalised together; `gamma` and `beta` have their sizes.
        epsilon: added to the variance.
        center, scale: whether there is a `beta`, a `gamma`.
        beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: for
            the two vectors.

    Raises:
        TypeError: if `axis` is no int or list of ints.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.LayerNormalization(epsilon=0.0)(np.array([[1.0, 3.0]], "float32")).tolist()
        [[-1.0, 1.0]]
    """

    CONFIG = ("axis", "epsilon", "rms_scaling", *AFFINE)

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        rms_scaling = kwargs.pop("rms_scaling", False)
        if rms_scaling:
            warnings.warn(
                "Argument `rms_scaling` of LayerNormalization is deprecated: it scales by the variance around the "
                "mean, not by the root mean square. Use RMSNormalization instead.",
                stacklevel=2,
            )
        super().__init__(**kwargs)
        self.store(
            axis=axis_argument(axis),
            epsilon=epsilon,
            center=center,
            scale=scale,
            rms_scaling=rms_scaling,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
        )
        self.supports_masking = True
        self.autocast = False

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = [input_shape[a] for a in sorted_axes(self.axis, input_shape)]
        self.axis = sorted(self.axis) if isinstance(self.axis, list) else [self.axis]  # so Keras's files say it
        scale, center = self.scale or self.rms_scaling, self.center and not self.rms_scaling
        self.gamma = self.add_parameter("gamma", shape, autocast=False) if scale else None
        self.beta = self.add_parameter("beta", shape, autocast=False) if center else None

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        check_axes(self.axis, input_shape)
        return input_shape

    def call(self, inputs: Any) -> Any:
        axes = sorted_axes(self.axis, inputs.shape)
        if self.rms_scaling:
            outputs = self._scale_by_deviation(inputs, axes)
        else:
            outputs = ops.layer_normalization(inputs, self.gamma, self.beta, axis=axes, epsilon=self.epsilon)
        return ops.cast(outputs, self.compute_dtype)

    def _scale_by_deviation(self, inputs: Any, axes: list[int]) -> Any:
        x = at_least_float32(inputs)
        _, variance = moments(x, axes, keepdims=True)
        shape = [n if i in axes else 1 for i, n in enumerate(x.shape)]
        gamma = ops.reshape(ops.cast(self.gamma, x.dtype), shape)
        return ops.multiply(x, ops.multiply(ops.rsqrt(ops.add(variance, self.epsilon)), gamma))


class GroupNormalization(ConfiguredLayer):
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta` with the statistics of groups of channels of each sample.

    Wu and He, "Group Normalization", 2018. One group is layer normalisation over all axes; as many groups as channels
    is instance normalisation.

    Args:
        groups: number of groups, a divisor of the number of channels; -1 for one group per channel.
        axis: the channels' axis.
        epsilon: added to the variance.
        center, scale: whether there is a `beta`, a `gamma`, of one number per channel.
        beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: for
            the two vectors.

    Raises:
        ValueError: if the channels cannot be divided so.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.GroupNormalization(2)(np.ones((1, 4, 4, 6), "float32")).shape
        (1, 4, 4, 6)
    """

    CONFIG = ("groups", "axis", "epsilon", *AFFINE)

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(groups, int) or (groups <= 0 and groups != -1):
            raise ValueError(
                "Received an invalid value for argument `groups` of GroupNormalization, expected a positive integer "
                f"(or -1 for instance normalization). Received: groups={groups!r}"
            )
        super().__init__(**kwargs)
        self.store(
            groups=groups,
            axis=axis,
            epsilon=epsilon,
            center=center,
            scale=scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
        )
        self.supports_masking = True
        self.autocast = False

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        check_axes(self.axis, input_shape)
        channels = input_shape[self.axis]
        if channels is None:
            raise ValueError(
                f"Axis {self.axis} of input tensor should have a defined dimension but the layer received an input "
                f"with shape {input_shape}. Layer: {self.name}"
            )
        if self.groups == -1:
            self.groups = channels
        if channels < self.groups:
            raise ValueError(
                f"Number of groups ({self.groups}) cannot be more than the number of channels ({channels}). "
                f"Layer: {self.name}"
            )
        if channels % self.groups:
            raise ValueError(
                f"Number of groups ({self.groups}) must be a multiple of the number of channels ({channels}), that is, "
                f"divide it. Layer: {self.name}"
            )
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self.axis: channels})
        self.gamma = self.add_parameter("gamma", (channels,), autocast=False) if self.scale else None
        self.beta = self.add_parameter("beta", (channels,), autocast=False) if self.center else None

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        check_axes(self.axis, input_shape)
        return input_shape

    def call(self, inputs: Any) -> Any:
        shape = tuple(inputs.shape)
        axis = self.axis % len(shape)
        members = shape[axis] // self.groups
        x = ops.reshape(at_least_float32(inputs), (*shape[:axis], self.groups, members, *shape[axis + 1 :]))
        axes = [a for a in range(1, len(shape) + 1) if a != axis]
        mean, variance = moments(x, axes, keepdims=True)
        y = ops.multiply(ops.subtract(x, mean), ops.rsqrt(ops.add(variance, self.epsilon)))
        parameter_shape = [1] * (len(shape) + 1)
        parameter_shape[axis : axis + 2] = [self.groups, members]
        if self.gamma is not None:
            y = ops.multiply(y, ops.reshape(ops.cast(self.gamma, x.dtype), parameter_shape))
        if self.beta is not None:
            y = ops.add(y, ops.reshape(ops.cast(self.beta, x.dtype), parameter_shape))
        return ops.cast(ops.reshape(y, shape), self.compute_dtype)


class RMSNormalization(ConfiguredLayer):
    """`scale * x / sqrt(mean(x**2) + epsilon)`, with the mean over each sample's features.

    Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.

    Args:
        axis: axis or axes that are normalised together; `scale` has their sizes.
        epsilon: added to the mean square.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.RMSNormalization(epsilon=0.0)(np.array([[2.0, -2.0]], "float32")).tolist()
        [[1.0, -1.0]]
    """

    CONFIG = ("axis", "epsilon")

    def __init__(self, axis: Any = -1, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.store(axis=axis_argument(axis), epsilon=epsilon)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = tuple(input_shape[a] for a in sorted_axes(self.axis, input_shape))
        self.axis = sorted(self.axis) if isinstance(self.axis, list) else [self.axis]
        self.scale = self.add_weight(name="scale", shape=shape, initializer="ones")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        check_axes(self.axis, input_shape)
        return input_shape

    def call(self, inputs: Any) -> Any:
        axes = sorted_axes(self.axis, inputs.shape)
        return ops.rms_normalization(inputs, scale=self.scale, axis=axes, epsilon=self.epsilon)


class UnitNormalization(ConfiguredLayer):
    """Divides each sample by its L2 norm.

    Args:
        axis: axis or axes over which the norm is taken.

    Raises:
        TypeError: if `axis` is no int or list of ints.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> [round(v, 3) for v in layers.UnitNormalization()(np.array([[3.0, 4.0]], "float32")).tolist()[0]]
        [0.6, 0.8]
    """

    CONFIG = ("axis",)

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.store(axis=axis_argument(axis))
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: Any) -> Any:
        check_axes(self.axis, inputs.shape)
        return ops.normalize(inputs, axis=self.axis, order=2, epsilon=1e-12)
