"""A table of layers with inputs, and the ways in which every one of them is run."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkeras import layers
from graphkeras.core.trace import Trace
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import type_of

# (class name, constructor arguments, shapes of the inputs)
CASES: list[tuple[str, dict[str, Any], tuple[tuple[int, ...], ...]]] = [
    ("Dense", {"units": 3, "activation": "tanh"}, ((2, 4),)),
    ("Dense", {"units": 3, "use_bias": False, "kernel_regularizer": "l2"}, ((2, 5, 4),)),
    ("Dense", {"units": 3, "lora_rank": 2}, ((2, 4),)),
    ("EinsumDense", {"equation": "...x,xy->...y", "output_shape": 6, "bias_axes": "y"}, ((2, 3, 4),)),
    ("Activation", {"activation": "sigmoid"}, ((2, 3),)),
    ("ReLU", {"max_value": 1.0, "negative_slope": 0.1, "threshold": 0.2}, ((2, 9),)),
    ("LeakyReLU", {}, ((2, 9),)),
    ("ELU", {"alpha": 0.5}, ((2, 9),)),
    ("PReLU", {"shared_axes": [1], "alpha_initializer": "ones"}, ((2, 3, 4),)),
    ("ThresholdedReLU", {"theta": 0.5}, ((2, 9),)),
    ("Softmax", {"axis": [1, 2]}, ((2, 3, 4),)),
    ("Flatten", {"data_format": "channels_first"}, ((2, 3, 4, 5),)),
    ("Reshape", {"target_shape": (-1, 2)}, ((2, 3, 4),)),
    ("Permute", {"dims": (2, 1)}, ((2, 3, 4),)),
    ("RepeatVector", {"n": 3}, ((2, 4),)),
    ("ZeroPadding1D", {"padding": (1, 2)}, ((2, 4, 3),)),
    ("ZeroPadding2D", {"padding": ((1, 0), (2, 1))}, ((2, 4, 4, 3),)),
    ("ZeroPadding3D", {"padding": 1, "data_format": "channels_first"}, ((2, 3, 2, 3, 2),)),
    ("Cropping1D", {"cropping": (1, 0)}, ((2, 4, 3),)),
    ("Cropping2D", {"cropping": (1, 1)}, ((2, 4, 5, 3),)),
    ("Cropping3D", {}, ((2, 4, 4, 5, 3),)),
    ("UpSampling1D", {"size": 3}, ((2, 4, 3),)),
    ("UpSampling2D", {"size": (2, 1), "data_format": "channels_first"}, ((2, 3, 4, 4),)),
    ("UpSampling3D", {}, ((2, 2, 2, 2, 3),)),
    ("Conv1D", {"filters": 4, "kernel_size": 3, "padding": "causal", "dilation_rate": 2}, ((2, 8, 3),)),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"}, ((2, 8, 7, 3),)),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "data_format": "channels_first", "groups": 2}, ((2, 4, 6, 6),)),
    ("Conv3D", {"filters": 2, "kernel_size": 2, "activation": "relu"}, ((1, 4, 4, 4, 2),)),
    ("Conv1DTranspose", {"filters": 4, "kernel_size": 3, "strides": 2}, ((2, 5, 3),)),
    ("Conv2DTranspose", {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"}, ((2, 4, 4, 3),)),
    ("Conv3DTranspose", {"filters": 2, "kernel_size": 2}, ((1, 3, 3, 3, 2),)),
    ("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2}, ((2, 6, 3),)),
    ("DepthwiseConv2D", {"kernel_size": 3, "padding": "same"}, ((2, 6, 6, 3),)),
    ("SeparableConv1D", {"filters": 4, "kernel_size": 3}, ((2, 6, 3),)),
    ("SeparableConv2D", {"filters": 4, "kernel_size": 3, "depth_multiplier": 2}, ((2, 6, 6, 3),)),
    ("MaxPooling1D", {"pool_size": 2}, ((2, 6, 3),)),
    ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, ((2, 6, 6, 3),)),
    ("MaxPooling3D", {"pool_size": 2}, ((2, 4, 4, 4, 3),)),
    ("AveragePooling1D", {"pool_size": 2}, ((2, 6, 3),)),
    ("AveragePooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, ((2, 6, 6, 3),)),
    ("AveragePooling3D", {"pool_size": 2, "data_format": "channels_first"}, ((2, 3, 4, 4, 4),)),
    ("GlobalMaxPooling1D", {}, ((2, 6, 3),)),
    ("GlobalMaxPooling2D", {"keepdims": True}, ((2, 6, 6, 3),)),
    ("GlobalMaxPooling3D", {}, ((2, 2, 2, 2, 3),)),
    ("GlobalAveragePooling1D", {"keepdims": True}, ((2, 6, 3),)),
    ("GlobalAveragePooling2D", {"data_format": "channels_first"}, ((2, 3, 6, 6),)),
    ("GlobalAveragePooling3D", {}, ((2, 2, 2, 2, 3),)),
    ("AdaptiveMaxPooling1D", {"output_size": 4}, ((2, 7, 3),)),
    ("AdaptiveAveragePooling2D", {"output_size": (3, 2)}, ((2, 7, 6, 3),)),
    ("BatchNormalization", {}, ((8, 4),)),
    ("BatchNormalization", {"axis": 1, "renorm": True}, ((4, 3, 2, 2),)),
    ("LayerNormalization", {"axis": [1, 2]}, ((2, 3, 4),)),
    ("GroupNormalization", {"groups": 2}, ((2, 4, 6),)),
    ("RMSNormalization", {}, ((2, 6),)),
    ("UnitNormalization", {}, ((2, 6),)),
    ("Add", {}, ((2, 3, 4), (2, 3, 4), (2, 1, 4))),
    ("Subtract", {}, ((2, 3), (2, 3))),
    ("Multiply", {}, ((2, 3, 4), (2, 4))),
    ("Average", {}, ((2, 3), (2, 3))),
    ("Maximum", {}, ((2, 3), (2, 3))),
    ("Minimum", {}, ((2, 3), (2, 3))),
    ("Concatenate", {"axis": 1}, ((2, 3, 4), (2, 1, 4))),
    ("Dot", {"axes": (2, 1), "normalize": True}, ((2, 3, 4), (2, 4, 5))),
    ("ActivityRegularization", {"l1": 0.1}, ((2, 3),)),
    ("Identity", {}, ((2, 3),)),
    ("Masking", {"mask_value": 1.0}, ((2, 3, 4),)),
    ("Rescaling", {"scale": 0.5, "offset": 1.0}, ((2, 3),)),
    ("Normalization", {"mean": [1.0, 2.0, 3.0], "variance": [1.0, 4.0, 9.0]}, ((2, 3),)),
]


def case_id(case: tuple[str, dict[str, Any], Any]) -> str:
    return case[0] + "-" + "-".join(case[1])


def inputs_of(shapes: tuple[tuple[int, ...], ...], dtype: str = "float32") -> Any:
    rng = np.random.default_rng(7)
    arrays = [rng.normal(size=s).astype(dtype) for s in shapes]
    return arrays if len(arrays) > 1 else arrays[0]


def make(name: str, arguments: dict[str, Any], **more: Any) -> Any:
    return getattr(layers, name)(**arguments, **more)


def run_traced(layer: Any, x: Any, **kwargs: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The layer's output through a traced graph, and the values that the graph assigns to its variables."""
    arrays = x if isinstance(x, list) else [x]
    with Trace() as trace:
        tensors = [trace.input(type_of(a)) for a in arrays]
        output = layer(tensors if isinstance(x, list) else tensors[0], **kwargs)
        writes = trace.writes
    graph = trace.finish([output, *writes.values()])
    assert not trace.captures
    values = evaluate(graph, [*arrays, *(v.numpy() for v in trace.reads)])
    return values[0], {v.name: value for v, value in zip(writes, values[1:], strict=True)}
