"""Activation functions: thin names over `ops`. All take a tensor of any shape and return one of the same shape
(`glu` halves its axis)."""

from __future__ import annotations

import contextlib
from typing import Any

from graphkeras import ops


def relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    """Rectified linear unit: `max(x, 0)` with its usual variations.

    Args:
        negative_slope: slope below the threshold.
        max_value: largest output, or None.
        threshold: values below it become `negative_slope * (x - threshold)`.

    Example:
        >>> import graphkeras as keras
        >>> keras.activations.relu([-1.0, 2.0]).tolist()
        [0.0, 2.0]
    """
    if negative_slope == 0.0 and threshold == 0.0:
        if max_value is None:
            return ops.relu(x)
        return ops.relu6(x) if max_value == 6 else ops.clip(ops.relu(x), 0.0, max_value)
    if max_value is None and threshold == 0.0:
        return ops.leaky_relu(x, negative_slope=negative_slope)
    x = x if hasattr(x, "dtype") else ops.convert_to_tensor(x)
    above = x if max_value is None else ops.minimum(x, max_value)
    return ops.where(ops.greater(x, threshold), above, negative_slope * (x - threshold))


def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """`x` where positive, else `negative_slope * x`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.activations.leaky_relu(np.array([-1.0, 0.0, 2.0])), 4))
    [-0.2  0.   2. ]
    """
    return ops.leaky_relu(x, negative_slope=negative_slope)


def relu6(x: Any) -> Any:
    """`min(max(x, 0), 6)`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.activations.relu6(np.array([-1.0, 0.0, 2.0])), 4))
    [0. 0. 2.]
    """
    return ops.relu6(x)


def softmax(x: Any, axis: Any = -1) -> Any:
    """`exp(x) / sum(exp(x))` along an axis (or several). The logits are kept on the result for stable losses.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.activations.softmax(np.array([[1.0, 1.0, 2.0]])), 4))
    [[0.2119 0.2119 0.5761]]
    """
    return _with_logits(ops.softmax(x, axis=axis), x)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """`x` where positive, else `alpha * (exp(x) - 1)` (Clevert et al. 2016).

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.activations.elu(np.array([-1.0, 0.0, 2.0])), 4))
    [-0.6321  0.      2.    ]
    """
    return ops.elu(x, alpha=alpha)


def selu(x: Any) -> Any:
    """`scale * elu(x, alpha)` with the self-normalising constants of Klambauer et al. 2017.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.activations.selu(np.array([-1.0, 0.0, 2.0])), 4))
    [-1.1113  0.      2.1014]
    """
    return ops.selu(x)


def softplus(x: Any) -> Any:
    """`log(1 + exp(x))`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.activations.softplus(np.array([-1.0, 0.0, 2.0])), 4))
    [0.3133 0.6931 2.1269]
    """
    return ops.softplus(x)


def softsign(x: Any) -> Any:
    """`x / (1 + |x|)`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.activations.softsign(np.array([-1.0, 0.0, 2.0])), 4))
    [-0.5     0.      0.6667]
    """
    return ops.softsign(x)


def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """`x` moved towards zero by `threshold`; zero where |x| is below it."""
    return ops.soft_shrink(x, threshold=threshold)


def sparse_plus(x: Any) -> Any:
    """0 up to -1, `(x + 1)**2 / 4` to 1, `x` from there."""
    return ops.sparse_plus(x)


def silu(x: Any) -> Any:
    """`x * sigmoid(x)`, also known as swish (Ramachandran et al. 2017).

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.activations.silu(np.array([-1.0, 0.0, 2.0])), 4))
    [-0.2689  0.      1.7616]
    """
    return ops.silu(x)


swish = silu


def squareplus(x: Any, b: float = 4) -> Any:
    """`(x + sqrt(x**2 + b)) / 2`."""
    return ops.squareplus(x, b=b)


def gelu(x: Any, approximate: bool = False) -> Any:
    """`x * Phi(x)` with the normal distribution function Phi; `approximate` takes its tanh form (Hendrycks 2016).

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.activations.gelu(np.array([-1.0, 0.0, 2.0])), 4))
    [-0.1587  0.      1.9545]
    """
    return ops.gelu(x, approximate=approximate)


def celu(x: Any, alpha: float = 1.0) -> Any:
    """`max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)`."""
    return ops.celu(x, alpha=alpha)


def glu(x: Any, axis: int = -1) -> Any:
    """First half of the axis times the sigmoid of the second half."""
    return ops.glu(x, axis=axis)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.activations.tanh(np.array([-1.0, 0.0, 2.0])), 4))
    [-0.7616  0.      0.964 ]
    """
    return ops.tanh(x)


def tanh_shrink(x: Any) -> Any:
    """`x - tanh(x)`."""
    return ops.tanh_shrink(x)


def hard_tanh(x: Any) -> Any:
    """`x` cut to [-1, 1]."""
    return ops.hard_tanh(x)


def hard_shrink(x: Any, threshold: float = 0.5) -> Any:
    """`x` where |x| is above the threshold, else 0."""
    return ops.hard_shrink(x, threshold=threshold)


def threshold(x: Any, threshold: float, default_value: float) -> Any:
    """`x` where above the threshold, else `default_value`."""
    return ops.threshold(x, threshold, default_value)


def sigmoid(x: Any) -> Any:
    """`1 / (1 + exp(-x))`. The logits are kept on the result for stable losses.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.activations.sigmoid(np.array([-1.0, 0.0, 2.0])), 4))
    [0.2689 0.5    0.8808]
    """
    return _with_logits(ops.sigmoid(x), x)


def exponential(x: Any) -> Any:
    """`exp(x)`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.activations.exponential(np.array([-1.0, 0.0, 2.0])), 4))
    [0.3679 1.     7.3891]
    """
    return ops.exp(x)


def hard_sigmoid(x: Any) -> Any:
    """`x / 6 + 1/2` cut to [0, 1].

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.activations.hard_sigmoid(np.array([-1.0, 0.0, 2.0])), 4))
    [0.3333 0.5    0.8333]
    """
    return ops.hard_sigmoid(x)


def log_sigmoid(x: Any) -> Any:
    """`log(sigmoid(x))`."""
    return ops.log_sigmoid(x)


def sparse_sigmoid(x: Any) -> Any:
    """`(x + 1) / 2` cut to [0, 1]."""
    return ops.sparse_sigmoid(x)


def hard_silu(x: Any) -> Any:
    """`x * hard_sigmoid(x)`."""
    return ops.hard_silu(x)


hard_swish = hard_silu


def linear(x: Any) -> Any:
    """`x` itself.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.activations.linear(np.array([-1.0, 0.0, 2.0])), 4))
    [-1.  0.  2.]
    """
    return x


def mish(x: Any) -> Any:
    """`x * tanh(softplus(x))` (Misra 2019).

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.activations.mish(np.array([-1.0, 0.0, 2.0])), 4))
    [-0.3034  0.      1.944 ]
    """
    x = x if hasattr(x, "dtype") else ops.convert_to_tensor(x)
    return x * ops.tanh(ops.softplus(x))


def log_softmax(x: Any, axis: Any = -1) -> Any:
    """Logarithm of the softmax."""
    return ops.log_softmax(x, axis=axis)


def sparsemax(x: Any, axis: int = -1) -> Any:
    """Projection onto the probability simplex, with exact zeros (Martins and Astudillo 2016)."""
    return ops.sparsemax(x, axis)


def _with_logits(y: Any, logits: Any) -> Any:
    if hasattr(logits, "dtype"):
        with contextlib.suppress(AttributeError):  # a tensor form that carries no extra attributes
            y._keras_logits = logits
    return y
