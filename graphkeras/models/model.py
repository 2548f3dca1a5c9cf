"""Model: layers together with training, evaluation, saving and a summary."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable
from typing import Any

from graphkeras.core import tree
from graphkeras.core.errors import filter_traceback
from graphkeras.core.introspect import is_default
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.spec import compute_output_spec
from graphkeras.core.variable import Variable
from graphkeras.layers.layer import Layer
from graphkeras.trainers.trainer import Trainer


class Model(Trainer, Layer):
    """A model, made in one of three ways.

    - `Model(inputs, outputs)`: the graph of layers between symbolic tensors (the Functional API).
    - A subclass with layers in `__init__` and the computation in `call(self, inputs, training=None)`.
    - `Sequential([...])`: a stack of layers.

    Example:

    >>> import graphkeras as keras
    >>> x = keras.Input((4,))
    >>> model = keras.Model(x, keras.layers.Dense(2)(x))
    >>> model.count_params()
    10
    >>> class Classifier(keras.Model):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.dense = keras.layers.Dense(2, activation="softmax")
    ...     def call(self, inputs):
    ...         return self.dense(inputs)
    >>> Classifier()(keras.ops.ones((3, 4))).shape
    (3, 2)
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is Model and _is_functional_call(args, kwargs):
            from graphkeras.models.functional import Functional

            return Functional.__new__(Functional, *args, **kwargs)
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        Trainer.__init__(self)
        if _is_functional_call(args, kwargs):
            from graphkeras.models.functional import Functional

            _make_functional(type(self))
            Functional.__init__(self, *args, **kwargs)
        else:
            Layer.__init__(self, *args, **kwargs)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"Model {type(self).__name__} does not have a `call()` method implemented.")

    @property
    def layers(self) -> list[Any]:
        """The model's direct sublayers."""
        return self._flatten_layers(include_self=False, recursive=False)

    @layers.setter
    def layers(self, _: Any) -> None:
        raise AttributeError("`Model.layers` attribute is reserved and should not be used. Please use another name.")

    @filter_traceback
    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """A direct sublayer by its name or its place in `layers`.

        Example:

        >>> import graphkeras as keras
        >>> layer = keras.layers.Dense(1, name="head")
        >>> keras.Sequential([keras.Input((2,)), layer]).get_layer("head") is layer
        True
        """
        if (name is None) == (index is None):
            raise ValueError(f"Provide either a layer name or a layer index. Received: index={index}, name={name}.")
        if index is not None:
            if len(self.layers) <= index:
                raise ValueError(
                    f"Was asked to retrieve layer at index {index} but model only has {len(self.layers)} layers."
                )
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = [layer.name for layer in self.layers]
        import difflib  # only for a message

        near = difflib.get_close_matches(str(name), names, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"No such layer: {name}. Existing layers are: {names}.{hint}")

    @filter_traceback
    def summary(
        self,
        line_length: int | None = None,
        positions: Any = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Any = None,
    ) -> None:
        """Print a table of the layers and the numbers of parameters.

        Args:
            line_length: width in characters; the terminal's by default.
            positions: where the columns end, as fractions of the width or in characters.
            print_fn: called once with the whole text, in place of printing.
            expand_nested: list the layers of nested models too.
            show_trainable: add a column that says whether a layer is trained.
            layer_range: names (or regular expressions) of the first and the last layer to list.

        Example:

        >>> import graphkeras as keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> lines = []
        >>> model.summary(print_fn=lines.append)
        >>> "Total params: 3" in lines[0]
        True
        """
        from graphkeras.models.summary import print_summary

        print_summary(self, line_length, positions, print_fn, expand_nested, show_trainable, layer_range)

    # -- saving ------------------------------------------------------------------------------------
    @filter_traceback
    def save(self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> Any:
        """Write the model to a `.keras` file: config, weights, optimizer state. See `saving.save_model`.

        Example:

        >>> import graphkeras as keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> import os, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> model.save(os.path.join(folder, "model.keras"))
        >>> keras.models.load_model(os.path.join(folder, "model.keras")).count_params()
        3
        """
        from graphkeras.saving import save_model

        return save_model(self, filepath, overwrite=overwrite, zipped=zipped, **kwargs)

    @filter_traceback
    def save_weights(self, filepath: Any, overwrite: bool = True, max_shard_size: Any = None) -> Any:
        """Write the weights to a `.weights.h5` file. See `saving.save_weights`.

        Example:

        >>> import graphkeras as keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> import os, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> model.save_weights(os.path.join(folder, "model.weights.h5"))
        >>> os.listdir(folder)
        ['model.weights.h5']
        """
        from graphkeras.saving import save_weights

        return save_weights(self, filepath, overwrite=overwrite, max_shard_size=max_shard_size)

    @filter_traceback
    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Read the weights from a file that `save_weights` or `save` wrote. See `saving.load_weights`.

        Example:

        >>> import numpy as np
        >>> import graphkeras as keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> import os, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> path = os.path.join(folder, "model.weights.h5")
        >>> model.save_weights(path)
        >>> model.set_weights([np.zeros((2, 1)), np.zeros(1)])
        >>> model.load_weights(path)
        >>> bool(model.get_weights()[0].any())
        True
        """
        from graphkeras.saving import load_weights

        load_weights(self, filepath, skip_mismatch=skip_mismatch, **kwargs)

    def to_json(self, **kwargs: Any) -> str:
        """The architecture as JSON, for `models.model_from_json`. `kwargs` go to `json.dumps`."""
        from graphkeras.saving import serialize_keras_object

        return json.dumps(serialize_keras_object(self), **kwargs)

    def export(self, filepath: Any, format: str = "tf_saved_model", **kwargs: Any) -> None:
        """Formats of other frameworks are not written; use `save`."""
        raise NotImplementedError(
            f"Model '{self.name}': export to format={format!r} needs another framework. Use "
            "`model.save('name.keras')`, which Keras 3 can load, and export from there."
        )

    def quantize(self, mode: Any = None, config: Any = None, filters: Any = None, **kwargs: Any) -> None:
        """Replace the kernels of all layers that can do so by integers.

        Args:
            mode: "int8" or "int4".
            config: an `Int8QuantizationConfig` or `Int4QuantizationConfig` of `keras.quantizers`, instead of a mode.
            filters: regular expression for names of layers, a list of them, or a function of a layer; default all.
            type_check: False quantises subclasses of the built-in layers too.
        """
        from graphkeras.quantizers.model import quantize_model

        type_check = kwargs.pop("type_check", True)
        if kwargs:
            raise ValueError(f"Unrecognized keyword arguments passed to {type(self).__name__}.quantize: {kwargs}")
        if quantize_model(self, mode, config, filters, type_check):
            self.train_function = self.test_function = self.predict_function = None
            self._forget_programs()

    def get_quantization_layer_structure(self, mode: Any = None) -> None:
        """To be overridden by models that say how they are quantized."""
        return None

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Build the model as `get_build_config` recorded it; a model without `build` is traced on symbolic inputs."""
        if not config:
            return
        single = "input_shape" in config
        shapes = {"input_shape": config["input_shape"]} if single else config.get("shapes_dict", {})
        self.__dict__["_build_shapes_dict"] = shapes
        try:
            if not is_default(self.build):
                self.build(config["input_shape"]) if single else self.build(**shapes)
                return
            tensors = {k: tree.map_shape_structure(KerasTensor, v) for k, v in shapes.items()}
            if single:
                compute_output_spec(self.call, tensors["input_shape"])
            else:
                compute_output_spec(self.call, **{k.removesuffix("_shape"): v for k, v in tensors.items()})
            self.built = True
        except Exception as error:
            warnings.warn(
                f"Model '{self.name}' had a build config, but the model cannot be built automatically in "
                "`build_from_config(config)`. You should implement `def build_from_config(self, config)`, and you "
                f"might also want to implement `def get_build_config(self)`. The cause: {error}",
                stacklevel=2,
            )

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        from graphkeras.models.functional import Functional, functional_like_constructor
        from graphkeras.models.functional_config import functional_from_config

        is_functional = all(k in config for k in ("name", "layers", "input_layers", "output_layers"))
        if is_functional and (cls in (Functional, Model) or functional_like_constructor(cls)):
            return functional_from_config(Functional if cls is Model else cls, config, custom_objects=custom_objects)
        try:
            return cls(**config)
        except TypeError as error:
            raise TypeError(
                "Unable to revive model from config. When overriding the `get_config()` method, make sure that the "
                f"returned config contains all items used as arguments in the constructor of {cls}, or define a "
                f"`from_config(cls, config)` class method.\n\nReceived config={config}\n\nError encountered: {error}"
            ) from error

    def __reduce__(self) -> Any:
        """Pickling and `copy.deepcopy` go by config, build shapes, weights and compile settings.

        A graph of calls is too deep for Python's recursive copying.
        """
        from graphkeras.models.copying import model_state, revive_model

        return revive_model, (model_state(self),)

    def __deepcopy__(self, memo: Any) -> Any:
        revive, arguments = self.__reduce__()
        copied = memo[id(self)] = revive(*arguments)
        return copied

    # -- state -------------------------------------------------------------------------------------
    def get_state_tree(self, value_format: str = "backend_tensor") -> dict[str, Any]:
        """All variables as nested dicts by path, in four groups.

        value_format: "backend_tensor" or "numpy_array".
        """
        optimizer = getattr(self, "optimizer", None)
        groups = {
            "trainable_variables": self.trainable_variables,
            "non_trainable_variables": self.non_trainable_variables,
            "optimizer_variables": optimizer.variables if optimizer is not None else [],
            "metrics_variables": self.metrics_variables,
        }
        return {name: _nested(variables, value_format) for name, variables in groups.items()}

    def set_state_tree(self, state_tree: dict[str, Any]) -> None:
        """Set the variables from what `get_state_tree` returned."""
        optimizer = getattr(self, "optimizer", None)
        for group, values in state_tree.items():
            if group == "optimizer_variables":
                variables = optimizer.variables if optimizer is not None else []
            elif group in ("trainable_variables", "non_trainable_variables", "metrics_variables"):
                variables = getattr(self, group)
            else:
                raise ValueError(f"Unknown variable name: {group}")
            by_path = {v.path: v for v in variables}
            for path, value in _flat_paths(values).items():
                if path in by_path:
                    by_path[path].assign(value)


def _nested(variables: list[Variable], value_format: str) -> dict[str, Any]:
    if value_format not in ("backend_tensor", "numpy_array"):
        raise ValueError(
            "Invalid `value_format` argument. Expected one of {'numpy_array', 'backend_tensor'}. "
            f"Received: value_format={value_format}"
        )
    result: dict[str, Any] = {}
    seen: set[str] = set()
    for v in variables:
        if v.path in seen:
            raise ValueError(
                f"The following variable path is found twice in the model: '{v.path}'. `get_state_tree()` can only be "
                "called when all variable paths are unique. Make sure to give unique names to your layers (and other "
                "objects)."
            )
        seen.add(v.path)
        *parents, name = v.path.split("/")
        level = result
        for part in parents:
            level = level.setdefault(part, {})
        level[name] = v.value if value_format == "backend_tensor" else v.numpy()
    return result


def _flat_paths(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= _flat_paths(value, f"{prefix}{key}/") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def model_from_json(json_string: str, custom_objects: Any = None) -> Any:
    """The model that `model.to_json()` described, with new weights."""
    from graphkeras.saving import deserialize_keras_object

    return deserialize_keras_object(json.loads(json_string), custom_objects=custom_objects)


def _is_functional_call(args: Any, kwargs: Any) -> bool:
    """Whether constructor arguments are inputs and outputs."""
    return len(args) == 2 or (len(args) == 1 and "outputs" in kwargs) or ("inputs" in kwargs and "outputs" in kwargs)


def _make_functional(cls: type) -> type:
    """Put Functional in the place of Model among the bases of a subclass, which gave inputs and outputs to Model."""
    from graphkeras.models.functional import Functional

    if cls is Model:
        return Functional
    if cls is object or issubclass(cls, Functional) or not issubclass(cls, Model):
        return cls
    cls.__bases__ = tuple(_make_functional(base) for base in cls.__bases__)
    return cls


def positional_parameters(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters that can be given by position."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p for p in inspect.signature(fn).parameters.values() if p.kind in kinds]
