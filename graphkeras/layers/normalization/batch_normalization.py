"""BatchNormalization: zero mean and unit variance over the batch."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.layers.arguments import check_axes
from graphkeras.layers.configured import ConfiguredLayer
from graphkeras.layers.input_spec import InputSpec
from graphkeras.layers.normalization.moments import along, at_least_float32, moments, standardize

RENORM_KEYS = ("rmax", "rmin", "dmax")


class BatchNormalization(ConfiguredLayer):
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta`, feature by feature.

    In training the mean and variance are those of the batch, and moving averages follow them:
    `moving = momentum * moving + (1 - momentum) * batch`. Otherwise, and whenever the layer is frozen
    (`trainable = False`), the moving averages are used. All is computed in float32 or wider.
    Ioffe and Szegedy, "Batch Normalization", 2015.

    Call arguments:
        inputs: tensor of any rank.
        training: whether to use and record the statistics of the batch.
        mask: optional bools of the inputs' shape without its last axis; steps where it is False do not count.

    Args:
        axis: the features' axis: the last one, or 1 for channels first.
        momentum: of the moving averages.
        epsilon: added to the variance.
        center, scale: whether there is a `beta`, a `gamma`.
        beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer: for the four vectors.
        beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: for the two that are trained.
        renorm: batch renormalisation: training uses the moving averages too, by corrections that carry no gradient
            (Ioffe, "Batch Renormalization", 2017).
        renorm_clipping: dict of limits for them: "rmin" and "rmax" for the ratio of deviations, "dmax" for the shift.
        renorm_momentum: momentum of the averages that the corrections use.
        synchronized: accepted; on one device the batch is always whole.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layer = layers.BatchNormalization(epsilon=0.0)
        >>> x = np.array([[1.0], [3.0]], "float32")
        >>> layer(x, training=True).tolist(), round(float(layer.moving_mean.numpy()[0]), 3)
        ([[-1.0], [1.0]], 0.02)
    """

    CONFIG = (
        "axis",
        "momentum",
        "epsilon",
        "center",
        "scale",
        "beta_initializer",
        "gamma_initializer",
        "moving_mean_initializer",
        "moving_variance_initializer",
        "beta_regularizer",
        "gamma_regularizer",
        "beta_constraint",
        "gamma_constraint",
        "synchronized",
        "renorm",
        "renorm_clipping",
        "renorm_momentum",
    )

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: dict[str, float] | None = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if renorm:
            renorm_clipping = _check_clipping(renorm_clipping or {})
        self.store(
            axis=int(axis),
            momentum=float(momentum),
            epsilon=float(epsilon),
            center=center,
            scale=scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            moving_mean_initializer=moving_mean_initializer,
            moving_variance_initializer=moving_variance_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
            renorm=renorm,
            renorm_clipping=renorm_clipping,
            renorm_momentum=renorm_momentum,
            synchronized=synchronized,
        )
        self.supports_masking = True
        self.gamma = self.beta = self.moving_mean = self.moving_variance = None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if not -len(input_shape) <= self.axis < len(input_shape) or input_shape[self.axis] is None:
            raise ValueError(
                f"Layer {self.name}: axis={self.axis} must be an axis of known size of the inputs. "
                f"Received: input_shape={input_shape}"
            )
        shape = (input_shape[self.axis],)
        if self.scale:
            self.gamma = self.add_parameter("gamma", shape, autocast=False)
        if self.center:
            self.beta = self.add_parameter("beta", shape, autocast=False)
        self.moving_mean = self._add_statistic("moving_mean", shape, self.moving_mean_initializer)
        self.moving_variance = self._add_statistic("moving_variance", shape, self.moving_variance_initializer)
        if self.renorm:
            self.moving_stddev = self._add_statistic("moving_stddev", shape, self._stddev_initializer)
            self.renorm_mean = self._add_statistic("renorm_mean", shape, self.moving_mean_initializer)
            self.renorm_stddev = self._add_statistic("renorm_stddev", shape, self._stddev_initializer)
        self.input_spec = InputSpec(ndim=len(input_shape), axes={self.axis: shape[0]})

    def _add_statistic(self, name: str, shape: tuple[int | None, ...], initializer: Any) -> Any:
        return self.add_weight(name=name, shape=shape, initializer=initializer, trainable=False, autocast=False)

    def _stddev_initializer(self, shape: Any, dtype: Any = None) -> Any:
        return ops.sqrt(self.moving_variance_initializer(shape, dtype=dtype))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        check_axes(self.axis, input_shape)
        return input_shape

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        rank = len(inputs.shape)
        if mask is not None:
            if len(mask.shape) != rank - 1:
                raise ValueError(
                    f"The mask of layer {self.name} should have one dimension less than the inputs. "
                    f"Received: mask.shape={mask.shape}, inputs.shape={inputs.shape}"
                )
            mask = ops.expand_dims(ops.cast(mask, "bool"), -1)
        x = at_least_float32(inputs)
        scale = None if self.gamma is None else ops.cast(self.gamma, x.dtype)
        offset = None if self.beta is None else ops.cast(self.beta, x.dtype)
        if training and self.trainable:
            axes = tuple(a for a in range(rank) if a != self.axis % rank)
            if mask is None and not self.renorm:
                return self._train(x, axes, scale, offset)
            mean, variance = moments(x, axes, mask=mask)
            if self.renorm:
                scale, offset = self._renormalize(mean, variance, scale, offset)
            else:
                self._follow(self.moving_mean, mean, self.momentum)
                self._follow(self.moving_variance, variance, self.momentum)
        else:
            mean, variance = ops.cast(self.moving_mean, x.dtype), ops.cast(self.moving_variance, x.dtype)
        factor = ops.rsqrt(ops.add(variance, self.epsilon))
        if scale is not None:
            factor = ops.multiply(factor, scale)
        y = ops.multiply(ops.subtract(x, along(mean, self.axis, rank)), along(factor, self.axis, rank))
        if offset is not None:
            y = ops.add(y, along(offset, self.axis, rank))
        return ops.cast(y, self.compute_dtype)

    def _train(self, x: Any, axes: tuple[int, ...], scale: Any, offset: Any) -> Any:
        """The common case: batch statistics of all elements, in the form whose gradient takes one pass."""
        rank = len(x.shape)
        y, mean, variance = standardize(x, axes, self.epsilon)
        self._follow(self.moving_mean, mean, self.momentum)
        self._follow(self.moving_variance, variance, self.momentum)
        if scale is not None:
            y = ops.multiply(y, along(scale, self.axis, rank))
        if offset is not None:
            y = ops.add(y, along(offset, self.axis, rank))
        return ops.cast(y, self.compute_dtype)

    def _follow(self, average: Any, value: Any, momentum: float) -> Any:
        """Move an average towards a new value; returns the new average."""
        new = ops.add(ops.multiply(ops.cast(average, value.dtype), momentum), ops.multiply(value, 1.0 - momentum))
        average.assign(ops.cast(new, average.dtype))
        return new

    def _renormalize(self, mean: Any, variance: Any, scale: Any, offset: Any) -> tuple[Any, Any]:
        """Scale and offset that contain the corrections r and d of batch renormalisation; moves all averages.

        (x - mean) / stddev * r + d equals normalisation by the averages wherever the limits do not act.
        """
        stddev = ops.sqrt(ops.add(variance, self.epsilon))
        old_mean = ops.cast(self.renorm_mean, mean.dtype)
        old_stddev = ops.maximum(ops.cast(self.renorm_stddev, mean.dtype), self.epsilon**0.5)
        r = ops.divide(stddev, old_stddev)
        d = ops.divide(ops.subtract(mean, old_mean), old_stddev)
        limits = self.renorm_clipping
        if limits.get("rmin") is not None:
            r = ops.maximum(r, limits["rmin"])
        if limits.get("rmax") is not None:
            r = ops.minimum(r, limits["rmax"])
        if limits.get("dmax") is not None:
            d = ops.clip(d, -limits["dmax"], limits["dmax"])
        r, d = ops.stop_gradient(r), ops.stop_gradient(d)
        if scale is not None:
            r, d = ops.multiply(r, scale), ops.multiply(d, scale)
        self._follow(self.renorm_mean, mean, self.renorm_momentum)
        self._follow(self.renorm_stddev, stddev, self.renorm_momentum)
        self._follow(self.moving_mean, mean, self.momentum)
        moving_stddev = self._follow(self.moving_stddev, stddev, self.momentum)
        self.moving_variance.assign(ops.relu(ops.subtract(ops.square(moving_stddev), self.epsilon)))
        return r, d if offset is None else ops.add(d, offset)


def _check_clipping(clipping: dict[str, float]) -> dict[str, float]:
    received = f"Received: renorm_clipping={clipping}"
    if set(clipping) - set(RENORM_KEYS):
        raise ValueError(
            f"Received invalid keys for `renorm_clipping` argument: {clipping}. Supported values: {list(RENORM_KEYS)}."
        )
    rmax, rmin, dmax = (clipping.get(k) for k in RENORM_KEYS)
    if rmax is not None and rmin is not None and rmax < rmin:
        raise ValueError(f"rmax should be greater than rmin in the `renorm_clipping` argument. {received}")
    if dmax is not None and dmax < 0:
        raise ValueError(f"dmax should be non-negative in the `renorm_clipping` argument. {received}")
    return clipping
