"""Sequential: a stack of layers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from graphkeras.core import tree
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.masking import get_keras_mask
from graphkeras.core.shapes import standardize_shape
from graphkeras.layers.input_layer import InputLayer
from graphkeras.layers.layer import Layer
from graphkeras.models.functional import Functional
from graphkeras.models.model import Model, positional_parameters


class Sequential(Model):
    """Layers applied one after another.

    Args:
        layers: the layers; a first `Input(shape)` builds the model at once, else the first data does.
        trainable: whether the weights are trained.
        name: string.

    Example:

    >>> import graphkeras as keras
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    >>> model.output_shape, len(model.weights)
    ((None, 1), 4)
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, layers: Sequence[Any] | None = None, trainable: bool = True, name: str | None = None) -> None:
        super().__init__(trainable=trainable, name=name)
        self._set_functional(None)
        self.__dict__["_layers"] = []  # in place of the tracker's list: `add` and `pop` keep it
        for layer in layers or ():
            self.add(layer, rebuild=False)
        if self._layers:
            self._maybe_rebuild()

    def _set_functional(self, functional: Functional | None) -> None:
        self.__dict__["_functional"] = functional  # not a sublayer: it holds the same layers

    def _own_layers_changed(self) -> None:
        self.built = False
        self._set_functional(None)

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Put a layer (or an `Input`) on top of the stack."""
        if not self._layers and getattr(layer, "_input_shape_arg", None) is not None:
            self.add(InputLayer(shape=layer._input_shape_arg), rebuild=rebuild)
        if isinstance(layer, KerasTensor) and isinstance(layer._keras_history.operation, InputLayer):
            layer = layer._keras_history.operation
        if not isinstance(layer, Layer):
            raise ValueError(
                f"Only instances of `graphkeras.Layer` can be added to a Sequential model. Received: {layer} "
                f"(of type {type(layer)})"
            )
        if any(other.name == layer.name and other is not layer for other in self._layers):
            raise ValueError(
                f"All layers added to a Sequential model should have unique names. Name '{layer.name}' is already the "
                "name of a layer in this model. Update the `name` argument to pass a unique name."
            )
        if isinstance(layer, InputLayer) and self._layers and isinstance(self._layers[0], InputLayer):
            raise ValueError(
                f"Sequential model '{self.name}' has already been configured to use input shape "
                f"{self._layers[0].batch_shape}. You cannot add a different Input layer to it."
            )
        self._layers.append(layer)
        if rebuild:
            self._maybe_rebuild()
        else:
            self._own_layers_changed()

    def pop(self, rebuild: bool = True) -> Any:
        """Remove the last layer and return it."""
        layer = self._layers.pop()
        self._own_layers_changed()
        if rebuild and self._layers:
            self._maybe_rebuild()
        return layer

    def _maybe_rebuild(self) -> None:
        self._own_layers_changed()
        first = self._layers[0]
        if len(self._layers) > 1:
            if isinstance(first, InputLayer):
                self.build(first.batch_shape)
            elif hasattr(first, "input_shape"):  # a built model
                self.build(first.input_shape)

    def _lock_state(self) -> None:
        return None  # layers can still be added

    def _obj_type(self) -> str:
        return "Sequential"

    # -- building ----------------------------------------------------------------------------------
    def build(self, input_shape: Any = None) -> None:
        """Create the weights for inputs of a shape (with the batch axis)."""
        try:
            input_shape = standardize_shape(input_shape)
        except ValueError:
            return  # nested inputs: the layers are applied one by one
        if not self._layers:
            raise ValueError(
                f"Sequential model {self.name} cannot be built because it has no layers. Call `model.add(layer)`."
            )
        first = self._layers[0]
        if isinstance(first, InputLayer):
            if first.batch_shape != input_shape:
                raise ValueError(
                    f"Sequential model '{self.name}' has already been configured to use input shape "
                    f"{first.batch_shape}. You cannot build it with input_shape {input_shape}"
                )
        else:
            self._layers.insert(0, InputLayer(batch_shape=input_shape, dtype=first.compute_dtype))
        inputs = x = self._layers[0].output
        for layer in self._layers[1:]:
            try:
                x = layer(x)
            except NotImplementedError:
                return  # its output shape cannot be inferred
            except TypeError:
                _check_single_argument(layer)
                raise
        self._set_functional(Functional(inputs=inputs, outputs=x, name=self.name))

    # -- calling -----------------------------------------------------------------------------------
    def call(self, inputs: Any, training: Any = None, mask: Any = None, **kwargs: Any) -> Any:
        if self._functional is not None:
            return self._functional.call(inputs, training=training, mask=mask, **kwargs)
        for layer in self.layers:
            given = {n: kwargs[n] for n in layer._call_context_args if n in kwargs}
            if layer._call_has_mask_arg:
                given["mask"] = mask
            if layer._call_has_training_arg and training is not None:
                given["training"] = training
            inputs = layer(inputs, **given)
            mask = tree.map_structure(get_keras_mask, inputs)
        return inputs

    def _set_output_masks(self, first: Any, outputs: Any, previous_mask: Any) -> None:
        return None  # the layers inside have done it

    def compute_output_spec(self, inputs: Any, training: Any = None, mask: Any = None, **kwargs: Any) -> Any:
        if self._functional is not None:
            return self._functional.compute_output_spec(inputs, training=training, mask=mask, **kwargs)
        for layer in self.layers:
            inputs = layer.compute_output_spec(inputs)
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self._functional is not None:
            return self._functional.compute_output_shape(input_shape)
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    # -- attributes --------------------------------------------------------------------------------
    @property
    def layers(self) -> list[Any]:
        """The layers that were added, without the Input."""
        hidden = 1 if self._layers and isinstance(self._layers[0], InputLayer) else 0
        return self._layers[hidden:]

    @layers.setter
    def layers(self, _: Any) -> None:
        raise AttributeError(
            "`Sequential.layers` attribute is reserved and should not be used. Use `add()` and `pop()` to change the "
            "layers in this model."
        )

    def _of_functional(self, attribute: str, what: str) -> Any:
        if self._functional is None:
            raise AttributeError(f"Sequential model '{self.name}' has no defined {what} yet.")
        return getattr(self._functional, attribute)

    @property
    def input_shape(self) -> Any:
        return self._of_functional("input_shape", "input shape")

    @property
    def output_shape(self) -> Any:
        return self._of_functional("output_shape", "output shape")

    @property
    def inputs(self) -> Any:
        return self._of_functional("inputs", "inputs")

    @property
    def outputs(self) -> Any:
        return self._of_functional("outputs", "outputs")

    @property
    def input(self) -> Any:
        return self.inputs[0] if self._functional is not None else super().input

    @property
    def output(self) -> Any:
        return self.outputs[0] if self._functional is not None else super().output

    @property
    def input_dtype(self) -> str:
        first = self._layers[0] if self._layers else None
        return first.dtype if isinstance(first, InputLayer) else super().input_dtype

    # -- config ------------------------------------------------------------------------------------
    def get_config(self) -> dict[str, Any]:
        from graphkeras.saving import serialize_keras_object

        config = {**Model.get_config(self), "name": self.name}
        config["layers"] = copy.deepcopy([serialize_keras_object(layer) for layer in self._layers])
        if self._functional is not None:
            config["build_input_shape"] = self._layers[0].batch_shape
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        from graphkeras.models.functional_config import layer_from_config

        if "name" not in config or "layers" not in config:
            raise ValueError(
                "A Sequential model configuration must be a dictionary containing the 'name' and 'layers' keys. "
                f"Received: config={config}"
            )
        model = cls(name=config["name"])
        for layer_config in config["layers"]:
            model.add(layer_from_config(layer_config, custom_objects))
        shape = config.get("build_input_shape")
        if model._functional is None and shape and isinstance(shape, (tuple, list)):
            model.build(shape)
        return model


def _check_single_argument(layer: Any) -> None:
    """Explain a failed call by what the layer's `call` takes."""
    parameters = positional_parameters(layer.call)
    required = [p.name for p in parameters if p.default is p.empty]
    name = type(layer).__name__
    if not parameters:
        raise ValueError(
            "Layers added to a Sequential model should have a single positional argument, the input tensor. "
            f"Layer {name} has no positional arguments."
        )
    if len(required) > 1:
        raise ValueError(
            "Layers added to a Sequential model can only have a single required positional argument, the input tensor. "
            f"Layer {name} has multiple required positional arguments: {required}"
        )
