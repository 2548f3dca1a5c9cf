"""Utilities: labels and features, progress bar, data sets of batches, names and files.

Names are loaded when first used: each of them belongs to a module of its own.
"""

from __future__ import annotations

import importlib
from typing import Any

# Public name -> the module that defines it.
_NAMES = {
    "array_to_img": "graphkeras.utils.image_utils",
    "audio_dataset_from_directory": "graphkeras.utils.directory_datasets",
    "clear_session": "graphkeras.core.global_state",
    "Config": "graphkeras.utils.config",
    "custom_object_scope": "graphkeras.saving",
    "CustomObjectScope": "graphkeras.saving",
    "deserialize_keras_object": "graphkeras.saving",
    "disable_interactive_logging": "graphkeras.core.config",
    "enable_interactive_logging": "graphkeras.core.config",
    "FeatureSpace": "graphkeras.layers.preprocessing.feature_space",
    "get_custom_objects": "graphkeras.saving",
    "get_file": "graphkeras.utils.file_utils",
    "get_registered_name": "graphkeras.saving",
    "get_registered_object": "graphkeras.saving",
    "get_source_inputs": "graphkeras.utils.operation_utils",
    "image_dataset_from_directory": "graphkeras.utils.directory_datasets",
    "img_to_array": "graphkeras.utils.image_utils",
    "is_interactive_logging_enabled": "graphkeras.core.config",
    "is_keras_tensor": "graphkeras.core.keras_tensor",
    "load_img": "graphkeras.utils.image_utils",
    "model_to_dot": "graphkeras.utils.model_visualization",
    "normalize": "graphkeras.utils.numerical_utils",
    "pack_x_y_sample_weight": "graphkeras.trainers.data_adapters.data_adapter_utils",
    "pad_sequences": "graphkeras.utils.sequence_utils",
    "plot_model": "graphkeras.utils.model_visualization",
    "Progbar": "graphkeras.utils.progbar",
    "PyDataset": "graphkeras.trainers.data_adapters.py_dataset_adapter",
    "register_keras_serializable": "graphkeras.saving",
    "save_img": "graphkeras.utils.image_utils",
    "Sequence": "graphkeras.trainers.data_adapters.py_dataset_adapter",
    "serialize_keras_object": "graphkeras.saving",
    "set_random_seed": "graphkeras.core.seed_generator",
    "split_dataset": "graphkeras.utils.split",
    "standardize_dtype": "graphkeras.core.dtypes",
    "text_dataset_from_directory": "graphkeras.utils.directory_datasets",
    "timeseries_dataset_from_array": "graphkeras.utils.timeseries_dataset",
    "to_categorical": "graphkeras.utils.numerical_utils",
    "unpack_x_y_sample_weight": "graphkeras.trainers.data_adapters.data_adapter_utils",
}
_RENAMED = {"Sequence": "PyDataset"}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_NAMES[name]), _RENAMED.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})
