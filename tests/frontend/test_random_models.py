"""One training step of random models, compiled against interpreted: layers next to each other that nobody thought of.

Widths are those of real networks (12 to 64 channels), so that kernels take the forms that they take there, and what
follows a layer rides along with it. `make test-long` tries many more.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers
from graphkeras.trainers.step import trace_step

MODELS = 300 if os.environ.get("GRAPHKERAS_LONG_TESTS") else 14
WIDTHS, ACTIVATIONS = (3, 12, 16, 20, 32, 48, 64), (None, "relu", "gelu", "tanh", "silu", "elu")
LARGEST = 12000  # elements of a sample


class Maker:
    """Draws layers that fit what is there."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)
        self.rank = self.r.choice([1, 1, 2, 2, 2, 3])
        sizes = {1: [(9,), (16,), (30,), (50,)], 2: [(6, 7), (8, 8), (11, 12), (13, 7)], 3: [(4, 5, 6), (4, 6, 6)]}
        self.size = self.r.choice(sizes[self.rank])

    def named(self, pattern: str) -> Any:
        """A layer of this rank, such as Conv{} -> Conv2D."""
        return getattr(layers, pattern.format(f"{self.rank}D"))

    def width(self) -> int:
        return self.r.choice(WIDTHS)

    def activation(self) -> str | None:
        return self.r.choice(ACTIVATIONS)

    def taps(self, x: Any) -> int:
        return min(self.r.choice([1, 2, 3, 3, 3, 5]), *x.shape[1:-1])

    def stride(self, x: Any) -> int:
        return self.r.choice([1, 1, 2]) if min(x.shape[1:-1]) > 3 else 1

    # -- layers: each gives the value after it ------------------------------------------------------------
    def convolution(self, x: Any) -> Any:
        how = self.r.choice(["same", "same", "valid", "dilated", "strided", "causal"])
        taps, more = self.taps(x), {}
        if how == "dilated":
            more["dilation_rate"] = 2
        elif how == "strided":
            more["strides"] = self.stride(x)
        padding = {"valid": "valid", "causal": "causal" if self.rank == 1 else "same"}.get(how, "same")
        if padding == "valid" and min(x.shape[1:-1]) < 2 * taps:
            padding = "same"
        bias = self.r.random() < 0.7
        layer = self.named("Conv{}")
        return layer(self.width(), taps, padding=padding, activation=self.activation(), use_bias=bias, **more)(x)

    def grouped(self, x: Any) -> Any:
        channels = x.shape[-1]
        groups = self.r.choice([g for g in (1, 2, 3, 4, 8, 16) if channels % g == 0])
        filters = channels * self.r.choice([1, 1, 1, 2])
        layer = self.named("Conv{}")
        return layer(filters, self.taps(x), padding="same", groups=groups, strides=self.stride(x))(x)

    def depthwise(self, x: Any) -> Any:
        if self.rank == 3:
            return x
        if self.r.random() < 0.5:
            return self.named("SeparableConv{}")(self.width(), self.taps(x), padding="same")(x)
        many = self.r.choice([1, 1, 2])
        return self.named("DepthwiseConv{}")(self.taps(x), padding="same", depth_multiplier=many)(x)

    def transposed(self, x: Any) -> Any:
        if np.prod(x.shape[1:-1]) > 300:
            return x
        return self.named("Conv{}Transpose")(self.width(), self.taps(x), strides=self.stride(x), padding="same")(x)

    def normalization(self, x: Any) -> Any:
        groups = self.r.choice([g for g in (1, 2, 4) if x.shape[-1] % g == 0])
        made = [layers.BatchNormalization, layers.LayerNormalization, lambda: layers.GroupNormalization(groups)]
        return self.r.choice(made)()(x)

    def noise(self, x: Any) -> Any:
        made = [layers.Dropout, layers.Dropout, layers.GaussianNoise, layers.GaussianDropout, layers.AlphaDropout]
        return self.r.choice([*made, self.named("SpatialDropout{}")])(0.2)(x)

    def pooling(self, x: Any) -> Any:
        if min(x.shape[1:-1]) < 3:
            return x
        layer = self.named(self.r.choice(["MaxPooling{}", "AveragePooling{}"]))
        return layer(2, strides=self.r.choice([1, 2]), padding=self.r.choice(["same", "valid"]))(x)

    def reshaped(self, x: Any) -> Any:
        if np.prod(x.shape[1:-1]) < 150 and self.r.random() < 0.5:
            return self.named("UpSampling{}")(2)(x)
        return self.named("ZeroPadding{}")(1)(x)

    def dense(self, x: Any) -> Any:
        return layers.Dense(self.width(), activation=self.activation())(x)

    def pointwise(self, x: Any) -> Any:
        return layers.Activation(self.r.choice(["sigmoid", "softplus", "mish", "hard_swish", "softmax"]))(x)

    def residual(self, x: Any) -> Any:
        inner = layers.Dropout(0.1)(x) if self.r.random() < 0.5 else x
        taps = min(3, *x.shape[1:-1])
        return layers.Add()([x, self.named("Conv{}")(x.shape[-1], taps, padding="same")(inner)])

    def side_by_side(self, x: Any) -> Any:
        return layers.Concatenate()([x, self.convolution_like(x)]) if x.shape[-1] < 100 else x

    def convolution_like(self, x: Any) -> Any:
        return self.named("Conv{}")(self.width(), self.taps(x), padding="same", activation=self.activation())(x)

    def gated(self, x: Any) -> Any:
        return layers.Multiply()([layers.Dense(x.shape[-1], activation="sigmoid")(x), x])

    def attention(self, x: Any) -> Any:
        if self.rank != 1:
            return x
        return layers.MultiHeadAttention(2, 8, dropout=self.r.choice([0.0, 0.2]))(x, x)

    # -- models ---------------------------------------------------------------------------------------
    def model(self) -> keras.Model:
        steps: list[Callable[[Any], Any]] = [
            *[self.convolution] * 4, *[self.grouped, self.noise, self.normalization] * 2, self.depthwise,
            self.transposed, self.pooling, self.reshaped, self.dense, self.pointwise, self.residual, self.side_by_side,
            self.gated, self.attention,
        ]  # fmt: skip
        inputs = x = keras.Input((*self.size, self.r.choice([1, 3, 16, 32])))
        for _ in range(self.r.randint(2, 6)):
            if np.prod(x.shape[1:]) < LARGEST:
                x = self.r.choice(steps)(x)
        ends = [layers.Flatten, self.named("GlobalAveragePooling{}"), self.named("GlobalMaxPooling{}")]
        x = self.r.choice(ends)()(x)
        return keras.Model(inputs, layers.Dense(4, activation="softmax")(x))


@pytest.mark.parametrize("seed", range(MODELS))
def test_compiled_step_is_the_interpreted_one(seed):
    keras.utils.set_random_seed(seed)
    maker = Maker(seed)
    model, rows = maker.model(), maker.r.choice([1, 5, 6, 12])
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, *model.inputs[0].shape[1:])).astype("float32")
    y = rng.integers(0, 4, rows)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model._symbolic_build((x, y))
    programs = [trace_step(model, "train", (x, y), interpret=i) for i in (True, False)]
    start = {v: v.numpy() for v in programs[0].variables}
    after = []
    for program in programs:
        for variable, value in start.items():
            variable.assign(value)
        program.run([x, y])
        after.append({v.path: v.numpy() for v in program.variables})
    for variable, old in start.items():
        want, found = (values[variable.path] for values in after)
        change = np.abs(want - old).max()  # plain SGD: the change is the gradient, scaled
        assert np.isfinite(want).all()
        np.testing.assert_allclose(found, want, rtol=0, atol=1e-6 + 5e-3 * change, err_msg=variable.path)
