"""FeatureSpace: columns of a table to vectors (`graphkeras.utils.FeatureSpace`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from graphkeras import layers, ops
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.naming import auto_name
from graphkeras.layers.layer import Layer
from graphkeras.layers.preprocessing.data_layer import DataLayer
from graphkeras.saving import serialization_lib


class Cross:
    """Several features hashed together into one category.

    Args:
        feature_names: names of the features.
        crossing_dim: number of categories.
        output_mode: "one_hot" or "int".
    """

    def __init__(self, feature_names: Any, crossing_dim: int, output_mode: str = "one_hot") -> None:
        _check_mode(output_mode, ("int", "one_hot"))
        self.feature_names = tuple(feature_names)
        self.crossing_dim = crossing_dim
        self.output_mode = output_mode

    @property
    def name(self) -> str:
        return "_X_".join(self.feature_names)

    def get_config(self) -> dict[str, Any]:
        names = ("feature_names", "crossing_dim", "output_mode")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Cross:
        return cls(**config)


class Feature:
    """A column: its dtype, the layer that prepares it, and the form of the result.

    Args:
        dtype: "float32", "int32" or "string".
        preprocessor: layer, or its config.
        output_mode: "float", "int" or "one_hot".
    """

    def __init__(self, dtype: str, preprocessor: Any, output_mode: str) -> None:
        _check_mode(output_mode, ("int", "one_hot", "float"))
        self.dtype = dtype
        if isinstance(preprocessor, dict):
            preprocessor = serialization_lib.deserialize_keras_object(preprocessor)
        self.preprocessor = preprocessor
        self.output_mode = output_mode

    def get_config(self) -> dict[str, Any]:
        preprocessor = serialization_lib.serialize_keras_object(self.preprocessor)
        return {"dtype": self.dtype, "preprocessor": preprocessor, "output_mode": self.output_mode}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Feature:
        return cls(**config)


class TFDIdentity(DataLayer):
    """Numbers as they are. The name is that of Keras's files."""

    def call(self, x: Any) -> Any:
        return x


def _check_mode(mode: str, allowed: tuple[str, ...]) -> None:
    if mode not in allowed:
        raise ValueError(
            f"Invalid value for argument `output_mode`. Expected one of {set(allowed)}. Received: output_mode={mode}"
        )


class FeatureSpace(Layer):
    """Turns dicts of columns into one vector per row.

    Args:
        features: dict from name to kind: "float", "float_normalized", "float_rescaled", "float_discretized",
            "integer_categorical", "string_categorical", "integer_hashed", "string_hashed", or what the class methods
            of these names return, with settings of your own.
        output_mode: "concat" (one vector) or "dict" (one per feature).
        crosses: tuples of names of features to hash together.
        crossing_dim: categories of a cross.
        hashing_dim: categories of hashed features.
        num_discretization_bins: bins of discretized features.

    Example:

    >>> import graphkeras as keras
    >>> space = keras.utils.FeatureSpace({"age": "float", "job": "string_categorical"})
    >>> space.adapt({"age": [20.0, 30.0], "job": ["cook", "clerk"]})
    >>> space({"age": [25.0], "job": ["cook"]}).tolist()
    [[25.0, 0.0, 1.0, 0.0]]
    """

    @classmethod
    def cross(cls, feature_names: Any, crossing_dim: int, output_mode: str = "one_hot") -> Cross:
        """Features hashed together."""
        return Cross(feature_names, crossing_dim, output_mode=output_mode)

    @classmethod
    def feature(cls, dtype: str, preprocessor: Any, output_mode: str) -> Feature:
        """A feature with a layer of your own."""
        return Feature(dtype, preprocessor, output_mode)

    @classmethod
    def float(cls, name: str | None = None) -> Feature:
        """Numbers as they are."""
        return Feature("float32", TFDIdentity(dtype="float32", name=_named(name, "float")), "float")

    @classmethod
    def float_rescaled(cls, scale: Any = 1.0, offset: Any = 0.0, name: str | None = None) -> Feature:
        """Numbers times `scale` plus `offset`."""
        layer = layers.Rescaling(scale=scale, offset=offset, name=_named(name, "float_rescaled"))
        return Feature("float32", layer, "float")

    @classmethod
    def float_normalized(cls, name: str | None = None) -> Feature:
        """Numbers with mean 0 and variance 1."""
        return Feature("float32", layers.Normalization(axis=-1, name=_named(name, "float_normalized")), "float")

    @classmethod
    def float_discretized(
        cls, num_bins: int, bin_boundaries: Any = None, output_mode: str = "one_hot", name: str | None = None
    ) -> Feature:
        """Numbers as bins."""
        name = _named(name, "float_discretized")
        layer = layers.Discretization(num_bins=num_bins, bin_boundaries=bin_boundaries, name=name)
        return Feature("float32", layer, output_mode)

    @classmethod
    def integer_categorical(
        cls,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        output_mode: str = "one_hot",
        name: str | None = None,
    ) -> Feature:
        """Integers as categories."""
        name = _named(name, "integer_categorical")
        layer = layers.IntegerLookup(name=name, max_tokens=max_tokens, num_oov_indices=num_oov_indices)
        return Feature("int32", layer, output_mode)

    @classmethod
    def string_categorical(
        cls,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        output_mode: str = "one_hot",
        name: str | None = None,
    ) -> Feature:
        """Strings as categories."""
        name = _named(name, "string_categorical")
        layer = layers.StringLookup(name=name, max_tokens=max_tokens, num_oov_indices=num_oov_indices)
        return Feature("string", layer, output_mode)

    @classmethod
    def string_hashed(cls, num_bins: int, output_mode: str = "one_hot", name: str | None = None) -> Feature:
        """Strings hashed to categories."""
        layer = layers.Hashing(name=_named(name, "string_hashed"), num_bins=num_bins)
        return Feature("string", layer, output_mode)

    @classmethod
    def integer_hashed(cls, num_bins: int, output_mode: str = "one_hot", name: str | None = None) -> Feature:
        """Integers hashed to categories."""
        layer = layers.Hashing(name=_named(name, "integer_hashed"), num_bins=num_bins)
        return Feature("int32", layer, output_mode)

    def __init__(
        self,
        features: dict[str, Any],
        output_mode: str = "concat",
        crosses: Any = None,
        crossing_dim: int = 32,
        hashing_dim: int = 32,
        num_discretization_bins: int = 32,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if not features:
            raise ValueError("The `features` argument cannot be None or empty.")
        _check_mode(output_mode, ("dict", "concat"))
        self.crossing_dim = crossing_dim
        self.hashing_dim = hashing_dim
        self.num_discretization_bins = num_discretization_bins
        self.output_mode = output_mode
        self.features = {key: self._standardize(key, value) for key, value in features.items()}
        self.crosses = [self._standardize_cross(cross) for cross in crosses or ()]
        self.preprocessors = {key: feature.preprocessor for key, feature in self.features.items()}
        self.crossers = {c.name: layers.HashedCrossing(c.crossing_dim, name=c.name) for c in self.crosses}
        self.inputs = {
            key: layers.Input(shape=(1,), dtype=feature.dtype, name=key) for key, feature in self.features.items()
        }
        self.one_hot_encoders: dict[str, Any] = {}
        self.encoded_features: Any = None
        self._is_adapted = False

    def _standardize(self, name: str, feature: Any) -> Feature:
        if isinstance(feature, Feature):
            return feature
        if isinstance(feature, dict):
            return Feature(**feature["config"])
        extra: dict[str, tuple[Any, ...]] = {
            "float": (),
            "float_normalized": (),
            "float_rescaled": (),
            "float_discretized": (self.num_discretization_bins,),
            "integer_categorical": (),
            "string_categorical": (),
            "integer_hashed": (self.hashing_dim,),
            "string_hashed": (self.hashing_dim,),
        }
        if feature not in extra:
            raise ValueError(f"Invalid feature type: {feature!r} for feature '{name}'. Expected one of {list(extra)}.")
        return getattr(self, feature)(*extra[feature], name=name)

    def _standardize_cross(self, cross: Any) -> Cross:
        if isinstance(cross, dict):
            cross = Cross(**cross["config"])
        cross = cross if isinstance(cross, Cross) else Cross(cross, self.crossing_dim)
        unknown = set(cross.feature_names) - self.features.keys()
        if unknown:
            raise ValueError(
                "All features referenced in the `crosses` argument should be present in the `features` dict. Received "
                f"unknown features: {sorted(unknown)}"
            )
        return cross

    # -- adapting ----------------------------------------------------------------------------------
    def _adaptable(self) -> list[str]:
        """Features whose layer has to see data first."""
        found = []
        for name, layer in self.preprocessors.items():
            given = getattr(layer, "_has_input_vocabulary", False) or getattr(layer, "input_mean", None) is not None
            given = given or getattr(layer, "bin_boundaries", None) is not None
            if hasattr(layer, "adapt") and not given:
                found.append(name)
        return found

    def adapt(self, dataset: Any) -> None:
        """Let the layers learn means, bins and vocabularies.

        dataset: dict of arrays or lists, or an iterable of dicts (of values, or of batches of them).
        """
        if isinstance(dataset, dict):
            columns = dataset
        elif isinstance(dataset, Iterable) and not isinstance(dataset, (str, bytes, np.ndarray)):
            columns = _columns(dataset)
        else:
            raise ValueError(
                "`adapt()` can only be called on a data set of dicts or a dict of arrays/lists. "
                f"Received instead: {dataset} (of type {type(dataset)})"
            )
        for name in self._adaptable():
            if name not in columns:
                raise ValueError(f"The data has no column for feature '{name}'. It has {list(columns)}.")
            values = np.asarray(columns[name], dtype=object if self.features[name].dtype == "string" else None)
            self.preprocessors[name].adapt(values.reshape(len(values), -1))
        self._is_adapted = True
        self.get_encoded_features()
        self.built = True

    def get_inputs(self) -> dict[str, Any]:
        """Symbolic inputs, by name."""
        self._check_adapted()
        return self.inputs

    def get_encoded_features(self) -> Any:
        """The symbolic result for `get_inputs()`: what a model can be built on."""
        self._check_adapted()
        if self.encoded_features is None:
            self.encoded_features = self._encode(dict(self.inputs))
        return self.encoded_features

    def _check_adapted(self) -> None:
        if not self._is_adapted:
            if self._adaptable():
                raise ValueError(
                    "You need to call `.adapt(dataset)` on the FeatureSpace before you can start using it. Features "
                    f"that learn from data: {self._adaptable()}"
                )
            self._is_adapted = True

    # -- encoding ----------------------------------------------------------------------------------
    def __call__(self, data: Any) -> Any:
        self._check_adapted()
        if not isinstance(data, dict):
            raise ValueError(
                f"A FeatureSpace can only be called with a dict. Received: data={data} (of type {type(data)}"
            )
        single = False
        columns = {}
        for name in self.features:
            if name not in data:
                raise ValueError(f"The data has no column for feature '{name}'. It has {list(data)}.")
            columns[name], alone = self._column(name, data[name])
            single = single or alone
        encoded = self._encode(columns)
        if not single:
            return encoded
        if isinstance(encoded, dict):
            return {name: ops.squeeze(x, 0) for name, x in encoded.items()}
        return ops.squeeze(encoded, 0)

    def _column(self, name: str, values: Any) -> tuple[Any, bool]:
        """Values as a column, and whether it was a single one."""
        if isinstance(values, KerasTensor):
            return values, False
        text = self.features[name].dtype == "string"
        array = np.asarray(values, dtype=object if text else None)
        column = array.reshape(1, 1) if array.ndim == 0 else array[:, None] if array.ndim == 1 else array
        return (column if text else ops.convert_to_tensor(column)), array.ndim == 0

    def _encode(self, columns: dict[str, Any]) -> Any:
        prepared = {name: self.preprocessors[name](x) for name, x in columns.items()}
        crossed = {c.name: self.crossers[c.name]([prepared[n] for n in c.feature_names]) for c in self.crosses}
        specs: dict[str, Feature | Cross] = {**self.features, **{c.name: c for c in self.crosses}}
        parts = {}
        for name, value in [*sorted(prepared.items()), *sorted(crossed.items())]:
            if specs[name].output_mode == "one_hot":
                value = self._one_hot(name, value)
            elif self.output_mode == "concat" and specs[name].output_mode == "int":
                raise ValueError(
                    f"Cannot concatenate features because feature '{name}' has not been encoded (it has dtype "
                    f"{value.dtype}). Consider using `output_mode='dict'`."
                )
            parts[name] = value
        if self.output_mode == "dict":
            return parts
        return ops.concatenate([ops.cast(x, self.compute_dtype) for x in parts.values()], axis=-1)

    def _one_hot(self, name: str, value: Any) -> Any:
        if not str(value.dtype).startswith("int"):
            raise ValueError(
                f"Feature '{name}' has `output_mode='one_hot'`. Thus its preprocessor should return an integer dtype. "
                f"Instead it returns a {value.dtype} dtype."
            )
        if name not in self.one_hot_encoders:
            layer = self.preprocessors.get(name) or self.crossers[name]
            count = layer.vocabulary_size() if hasattr(layer, "vocabulary_size") else None
            count = count or getattr(layer, "num_bins", None) or getattr(layer, "num_tokens", None)
            if count is None:
                raise ValueError(
                    f"Feature '{name}' has `output_mode='one_hot'`, but its layer {layer.name} does not say how many "
                    "categories it has. Try using `output_mode='int'`."
                )
            self.one_hot_encoders[name] = layers.CategoryEncoding(num_tokens=count, output_mode="multi_hot")
        return self.one_hot_encoders[name](value)

    # -- saving ------------------------------------------------------------------------------------
    def get_config(self) -> dict[str, Any]:
        return {
            "features": {k: serialization_lib.serialize_keras_object(f) for k, f in self.features.items()},
            "output_mode": self.output_mode,
            "crosses": [serialization_lib.serialize_keras_object(c) for c in self.crosses],
            "crossing_dim": self.crossing_dim,
            "hashing_dim": self.hashing_dim,
            "num_discretization_bins": self.num_discretization_bins,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> FeatureSpace:
        return cls(**config)

    def get_build_config(self) -> dict[str, Any]:
        return {name: feature.preprocessor.get_build_config() for name, feature in self.features.items()}

    def build_from_config(self, config: dict[str, Any]) -> None:
        for name, shapes in config.items():
            layer = self.features[name].preprocessor
            if not layer.built and shapes:
                layer.build_from_config(shapes)
        self._is_adapted = True

    def save(self, filepath: Any) -> None:
        """Write the feature space, with what it has learnt, to a `.keras` file; `saving.load_model` reads it."""
        from graphkeras.saving.saving_lib import save_model

        save_model(self, filepath)

    def save_own_variables(self, store: Any) -> None:
        return None

    def load_own_variables(self, store: Any) -> None:
        return None


def _named(name: str | None, kind: str) -> str:
    return f"{name or auto_name(kind)}_preprocessor"


def _columns(dataset: Iterable[Any]) -> dict[str, np.ndarray]:
    """All rows of a data set of dicts, by column."""
    parts: dict[str, list[Any]] = {}
    source = dataset.as_numpy_iterator() if hasattr(dataset, "as_numpy_iterator") else iter(dataset)
    for row in source:
        for name, value in row.items():
            parts.setdefault(name, []).append(np.atleast_1d(np.asarray(value)))
    return {name: np.concatenate(values) for name, values in parts.items()}
