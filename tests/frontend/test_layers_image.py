"""Image layers of colour, histograms and distortion: configs, single images, both data formats, inference."""

from __future__ import annotations

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers

X = np.random.default_rng(0).uniform(0, 255, size=(3, 12, 10, 3)).astype("float32")
RANDOM = {
    "RandomShear": {"x_factor": 0.3, "y_factor": (0.1, 0.2)},
    "RandomErasing": {"fill_value": [1, 2, 3]},
    "RandomElasticTransform": {"factor": (0.5, 1.0)},
    "RandomGaussianBlur": {"sigma": (0.2, 0.8)},
    "RandomInvert": {},
    "RandomPosterization": {"factor": (2, 6)},
    "RandomColorDegeneration": {"factor": 0.5},
    "RandomSharpness": {"factor": 0.8},
    "Solarization": {"addition_factor": 0.1, "threshold_factor": (0.2, 0.4)},
}
FIXED = {"Equalization": {"bins": 64}, "ContrastLimitedAdaptiveHistogramEqualization": {"tile_grid_size": (2, 3)}}


@pytest.mark.parametrize("name", [*RANDOM, *FIXED])
def test_config_inference_and_single_images(name):
    settings = {**RANDOM, **FIXED}[name]
    more = {"seed": 3} if name in RANDOM else {}
    layer = getattr(layers, name)(**settings, **more)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(np.asarray(layer(X, training=True)), np.asarray(again(X, training=True)))
    single = np.asarray(layer(X[0], training=True))
    assert single.shape == X[0].shape and np.isfinite(single).all()
    if name != "ContrastLimitedAdaptiveHistogramEqualization":
        np.testing.assert_array_equal(np.asarray(layer(X, training=False)), X)
    assert layer.compute_output_shape((None, 12, 10, 3)) == (None, 12, 10, 3)


@pytest.mark.parametrize("name", [*RANDOM, *FIXED])
def test_channels_first_is_the_same_transposed(name):
    settings = {**RANDOM, **FIXED}[name]
    more = {"seed": 5} if name in RANDOM else {}
    last, first = (getattr(layers, name)(**settings, **more, data_format=f"channels_{f}") for f in ("last", "first"))
    expected = np.asarray(last(X, training=True)).transpose(0, 3, 1, 2)
    found = np.asarray(first(X.transpose(0, 3, 1, 2), training=True))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-2)


def test_random_layers_draw_anew_in_every_compiled_step():
    model = keras.Sequential([keras.Input((12, 10, 3)), layers.RandomErasing((1.0, 1.0), fill_value=0, seed=1)])

    class Show(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = model
            self.scale = self.add_weight(shape=(), initializer="ones")

        def call(self, x):
            return x * self.scale

        def train_step(self, data):
            erased = self.inner(data, training=True)
            return {"zeros": keras.ops.mean(keras.ops.cast(erased == 0.0, "float32"))}

    shown = Show()
    shown.compile("sgd")
    shares = [shown.train_on_batch(X + 1.0) for _ in range(6)]
    assert len(set(shares)) > 3 and all(0.0 < share < 0.5 for share in shares)
    assert shown.profile()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: layers.RandomSharpness(1.5), "factor"),
        (lambda: layers.RandomPosterization(0), "factor"),
        (lambda: layers.RandomErasing(fill_value=[1, 2]), "three numbers"),
        (lambda: layers.RandomGaussianBlur(kernel_size=4), "odd integer"),
        (lambda: layers.RandomShear(-0.1), "x_factor"),
        (lambda: layers.Equalization(value_range=3), "value_range"),
    ],
)
def test_wrong_arguments_are_named(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_bounding_boxes_are_cut_and_filled():
    boxes = {"boxes": np.arange(24.0).reshape(2, 3, 4), "labels": np.ones((2, 3))}
    data = {"images": X[:2], "bounding_boxes": boxes}
    few = layers.MaxNumBoundingBoxes(2)(data)["bounding_boxes"]
    np.testing.assert_array_equal(np.asarray(few["boxes"]), boxes["boxes"][:, :2])
    many = layers.MaxNumBoundingBoxes(5, fill_value=-7)(data)["bounding_boxes"]
    np.testing.assert_array_equal(np.asarray(many["labels"])[:, 3:], -7)
    with pytest.raises(KeyError, match="scores"):
        layers.MaxNumBoundingBoxes(5)({"images": X, "bounding_boxes": {**boxes, "scores": boxes["labels"]}})
