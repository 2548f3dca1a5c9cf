"""Layers that apply an activation function: elementwise, or along an axis for Softmax."""

from __future__ import annotations

import warnings
from typing import Any

from graphkeras import activations, ops
from graphkeras.layers.configured import ConfiguredLayer
from graphkeras.layers.input_spec import InputSpec


class Activation(ConfiguredLayer):
    """Applies an activation function; the output has the input's shape.

    Args:
        activation: a function, or its name such as "relu".

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Activation("relu")(np.array([-1.0, 2.0], "float32")).tolist()
        [0.0, 2.0]
    """

    CONFIG = ("activation",)

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.store(activation=activation)
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: Any) -> Any:
        return self.activation(inputs)


def _not_negative(value: float | None, name: str, layer: str) -> None:
    if value is None or value < 0.0:
        raise ValueError(f"{name} of a {layer} layer cannot be None or a negative value. Received: {name}={value}")


class ReLU(ConfiguredLayer):
    """Rectified linear unit: `max(x, 0)`, with an optional ceiling, leak and threshold.

    The output is `max_value` for `x >= max_value`, `x` for `threshold < x < max_value`, and
    `negative_slope * (x - threshold)` below the threshold.

    Args:
        max_value: ceiling, or None for none.
        negative_slope: slope below the threshold.
        threshold: where the unit turns on.

    Raises:
        ValueError: for a negative argument.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.ReLU(max_value=6.0)(np.array([-1.0, 2.0, 9.0], "float32")).tolist()
        [0.0, 2.0, 6.0]
    """

    CONFIG = ("max_value", "negative_slope", "threshold")

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if max_value is not None and max_value < 0.0:
            raise ValueError(f"max_value of a ReLU layer cannot be a negative value. Received: max_value={max_value}")
        _not_negative(negative_slope, "negative_slope", "ReLU")
        _not_negative(threshold, "threshold", "ReLU")
        self.store(max_value=max_value, negative_slope=negative_slope, threshold=threshold)
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: Any) -> Any:
        return activations.relu(
            inputs, negative_slope=self.negative_slope, max_value=self.max_value, threshold=self.threshold
        )


class LeakyReLU(ConfiguredLayer):
    """`x` where positive, `negative_slope * x` elsewhere.

    Args:
        negative_slope: slope for negative inputs, not negative itself.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.LeakyReLU(0.5)(np.array([-2.0, 2.0], "float32")).tolist()
        [-1.0, 2.0]
    """

    CONFIG = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        if "alpha" in kwargs:
            negative_slope = kwargs.pop("alpha")
            warnings.warn(
                "Argument `alpha` of LeakyReLU is deprecated. Use `negative_slope` instead.", UserWarning, stacklevel=2
            )
        super().__init__(**kwargs)
        if negative_slope is None or negative_slope < 0:
            raise ValueError(
                "The negative_slope value of a Leaky ReLU layer cannot be None or negative value. Expected a float. "
                f"Received: negative_slope={negative_slope}"
            )
        self.store(negative_slope=negative_slope)
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: Any) -> Any:
        return activations.leaky_relu(inputs, negative_slope=self.negative_slope)


class ThresholdedReLU(ConfiguredLayer):
    """`x` where `x > theta`, 0 elsewhere. A layer of older programs; `ReLU(threshold=theta)` does the same.

    Args:
        theta: the threshold, not negative.

    Raises:
        ValueError: for a negative threshold.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.ThresholdedReLU(1.0)(np.array([0.5, 1.0, 2.0], "float32")).tolist()
        [0.0, 0.0, 2.0]
    """

    CONFIG = ("theta",)

    def __init__(self, theta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _not_negative(theta, "theta", "ThresholdedReLU")
        self.store(theta=float(theta))
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: Any) -> Any:
        return ops.where(ops.greater(inputs, self.theta), inputs, 0)


class ELU(ConfiguredLayer):
    """`x` where positive, `alpha * (exp(x) - 1)` elsewhere.

    Args:
        alpha: the limit for very negative inputs is `-alpha`.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> round(float(layers.ELU()(np.array([-1.0], "float32"))[0]), 4)
        -0.6321
    """

    CONFIG = ("alpha",)

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.store(alpha=alpha)
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: Any) -> Any:
        return activations.elu(inputs, alpha=self.alpha)


class PReLU(ConfiguredLayer):
    """Leaky ReLU whose slopes `alpha` are learned, one for each input feature.

    He et al., "Delving Deep into Rectifiers", 2015.

    Args:
        alpha_initializer, alpha_regularizer, alpha_constraint: for the slopes, of shape `input_shape[1:]`.
        shared_axes: axes along which one slope is shared, e.g. `[1, 2]` for one per channel of an image.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layer = layers.PReLU(shared_axes=[1, 2])
        >>> layer(np.ones((1, 8, 8, 3), "float32")).shape, tuple(layer.alpha.shape)
        ((1, 8, 8, 3), (1, 1, 3))
    """

    CONFIG = ("alpha_initializer", "alpha_regularizer", "alpha_constraint", "shared_axes")

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if shared_axes is not None:
            shared_axes = list(shared_axes) if isinstance(shared_axes, (list, tuple)) else [shared_axes]
        self.store(
            alpha_initializer=alpha_initializer,
            alpha_regularizer=alpha_regularizer,
            alpha_constraint=alpha_constraint,
            shared_axes=shared_axes,
        )
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shared = {a % len(input_shape) for a in self.shared_axes or ()}
        shape = [1 if i in shared else n for i, n in enumerate(input_shape)][1:]
        self.alpha = self.add_parameter("alpha", shape)
        fixed = {i: input_shape[i] for i in range(1, len(input_shape)) if i not in shared} if shared else {}
        self.input_spec = InputSpec(ndim=len(input_shape), axes=fixed)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def call(self, inputs: Any) -> Any:
        negative = ops.multiply(self.alpha, activations.relu(ops.negative(inputs)))
        return ops.subtract(activations.relu(inputs), negative)


class Softmax(ConfiguredLayer):
    """Exponentials divided by their sum along an axis.

    Call arguments:
        inputs: tensor.
        mask: optional, broadcastable to the inputs; where it is False the output is 0 and does not enter the sum.

    Args:
        axis: axis, or list of axes that are normalised together.

    Raises:
        ValueError: if the mask cannot be broadcast to the inputs.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Softmax()(np.zeros((1, 4), "float32")).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """

    CONFIG = ("axis",)

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.store(axis=axis)
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: Any, mask: Any = None) -> Any:
        if mask is not None:
            mask = self._check_mask(ops.convert_to_tensor(mask), inputs)
            inputs = ops.where(mask, inputs, -3e4 if str(inputs.dtype) == "float16" else -1e9)
        axes = list(self.axis) if isinstance(self.axis, (list, tuple)) else [self.axis]
        if len(axes) == 1:
            outputs = activations.softmax(inputs, axis=axes[0])
        else:
            outputs = ops.exp(ops.subtract(inputs, ops.logsumexp(inputs, axis=axes, keepdims=True)))
        return outputs if mask is None else ops.where(mask, outputs, 0.0)

    def _check_mask(self, mask: Any, inputs: Any) -> Any:
        shapes = f"Layer {self.name} received: inputs.shape={inputs.shape}, mask.shape={mask.shape}"
        if len(mask.shape) > len(inputs.shape):
            raise ValueError(
                f"The `mask` must be broadcastable to `inputs` and must not have more dimensions. {shapes}"
            )
        if any(m not in (1, n) for m, n in zip(mask.shape[::-1], inputs.shape[::-1], strict=False)):
            raise ValueError(
                "The `mask` must be broadcastable to `inputs`. Each mask dimension must be 1 or match the "
                f"corresponding input dimension. {shapes}"
            )
        return mask if str(mask.dtype) == "bool" else ops.greater(mask, 0.5)
