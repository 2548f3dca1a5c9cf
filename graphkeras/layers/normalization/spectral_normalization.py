"""SpectralNormalization: keeps the largest singular value of a layer's kernel at one."""

from __future__ import annotations

from typing import Any

from graphkeras import initializers, ops
from graphkeras.layers.core.wrapper import Wrapper
from graphkeras.layers.input_spec import InputSpec


class SpectralNormalization(Wrapper):
    """Divides the wrapped layer's kernel by its largest singular value, at each call in training.

    The value comes from a few steps of power iteration that go on from call to call.
    Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018.

    Args:
        layer: a layer with an attribute `kernel` or `embeddings`.
        power_iterations: steps per call.

    Raises:
        ValueError: for a layer without a kernel, or fewer than one step.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layer = layers.SpectralNormalization(layers.Dense(3), power_iterations=30)
        >>> _ = layer(np.ones((1, 2), "float32"), training=True)
        >>> round(float(np.linalg.norm(layer.layer.kernel.numpy(), 2)), 3)
        1.0
    """

    def __init__(self, layer: Any, power_iterations: int = 1, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        if power_iterations <= 0:
            raise ValueError(
                f"`power_iterations` should be greater than zero. Received: `power_iterations={power_iterations}`"
            )
        self.power_iterations = power_iterations

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.input_spec = InputSpec(min_ndim=1, axes={-1: input_shape[-1]})
        name = next((n for n in ("kernel", "embeddings") if hasattr(self.layer, n)), None)
        if name is None:
            raise ValueError(
                f"{type(self.layer).__name__} object has no attribute 'kernel' nor 'embeddings', so there is "
                f"nothing to normalise. Layer: {self.name}"
            )
        self.kernel = getattr(self.layer, name)
        self.vector_u = self.add_weight(
            name="vector_u",
            shape=(1, self.kernel.shape[-1]),
            initializer=initializers.TruncatedNormal(stddev=0.02),
            trainable=False,
            dtype=self.kernel.dtype,
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.layer.compute_output_shape(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if training:
            vector_u, kernel = self.normalized_weights()
            self.vector_u.assign(vector_u)
            self.kernel.assign(kernel)
        return ops.cast(self.layer(inputs), inputs.dtype)

    def normalized_weights(self) -> tuple[Any, Any]:
        """The next left singular vector and the kernel divided by its singular value (unchanged if all zero)."""
        kernel = ops.convert_to_tensor(self.kernel)
        matrix = ops.reshape(kernel, (-1, kernel.shape[-1]))
        vector_u = ops.convert_to_tensor(self.vector_u)
        for _ in range(self.power_iterations):
            vector_v = ops.normalize(ops.matmul(vector_u, ops.transpose(matrix)), axis=None)
            vector_u = ops.normalize(ops.matmul(vector_v, matrix), axis=None)
        vector_u, vector_v = ops.stop_gradient(vector_u), ops.stop_gradient(vector_v)
        sigma = ops.sum(ops.multiply(ops.matmul(vector_v, matrix), vector_u))
        zero = ops.all(ops.equal(matrix, 0))
        vector_u = ops.where(zero, ops.convert_to_tensor(self.vector_u), vector_u)
        return vector_u, ops.divide(kernel, ops.where(zero, ops.ones_like(sigma), sigma))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "power_iterations": self.power_iterations}
