"""Layer: an operation with state."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from graphkeras.core import tree
from graphkeras.core.dtypes import is_float_dtype
from graphkeras.core.errors import filter_traceback
from graphkeras.core.introspect import accepts, default, is_default, signature_of, unrecognized
from graphkeras.core.keras_tensor import KerasTensor, any_symbolic_tensors
from graphkeras.core.masking import get_keras_mask, set_keras_mask
from graphkeras.core.operation import Node, Operation
from graphkeras.core.scopes import AutocastScope, current_path, get_autocast_scope, name_scope
from graphkeras.core.spec import compute_output_spec, values_were_guessed
from graphkeras.core.tensor import Tensor
from graphkeras.core.trace import origin
from graphkeras.layers.call_spec import (
    CallContext,
    CallSpec,
    current_call_context,
    is_tensor_or_symbolic,
    set_call_context,
    shapes_for,
)
from graphkeras.layers.input_spec import assert_input_compatibility
from graphkeras.layers.layer_dtypes import LayerDtypes
from graphkeras.layers.layer_state import LayerState


def _building(build: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a `build` method: variables get the layer's path, and after it the layer is built and locked."""

    @functools.wraps(build)
    def wrapper(self: Layer, *args: Any, **kwargs: Any) -> Any:
        if self.__dict__.get("_building"):  # called by a subclass's build through super()
            return build(self, *args, **kwargs)
        self.__dict__["_building"] = True
        try:
            with self._open_name_scope():
                self._path = current_path()
                result = build(self, *args, **kwargs)
        finally:
            self.__dict__["_building"] = False
        # Not through __setattr__: shapes hold no state, and tracking would replace their lists.
        self.__dict__["_build_shapes_dict"] = dict(signature_of(build).bind(self, *args, **kwargs).arguments)
        self._build_shapes_dict.pop("self", None)
        self.built = True
        self._post_build()
        self._lock_state()
        return result

    wrapper._is_build_wrapper = True  # type: ignore[attr-defined]
    return wrapper


class Layer(LayerDtypes, LayerState, Operation):
    """A computation together with its variables.

    Subclasses create sublayers and settings in `__init__`, variables in `build(input_shape)`, and compute in `call`.

    Args:
        activity_regularizer: penalty on the outputs, divided by the batch size and added to `losses`.
        trainable: whether the variables are trained.
        dtype: dtype name or DTypePolicy; None means the global policy.
        autocast: whether float inputs are cast to the compute dtype.
        name: string without "/"; made from the class name by default.

    Example:

    >>> import graphkeras as keras
    >>> class Scale(keras.layers.Layer):
    ...     def build(self, input_shape):
    ...         self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")
    ...     def call(self, x):
    ...         return x * self.scale
    >>> layer = Scale()
    >>> layer(keras.ops.ones((2, 3))).shape
    (2, 3)
    >>> layer.weights[0].path
    'scale/scale'
    """

    build: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not getattr(cls.build, "_is_build_wrapper", False):
            cls.build = _building(cls.build)

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: Any = None,
        autocast: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        from graphkeras import dtype_policies

        input_shape = kwargs.pop("input_shape", None)
        if (input_dim := kwargs.pop("input_dim", None)) is not None:
            input_shape = (input_dim,)
        if kwargs:
            raise ValueError(unrecognized(type(self), kwargs))
        if not isinstance(trainable, bool):
            raise ValueError(
                f"Expected `trainable` of {type(self).__name__} to be a boolean. Received: trainable={trainable} "
                f"(of type {type(trainable)})"
            )
        self._initialize_tracker()
        Operation.__init__(self, name=name)
        self._layer_ready = True
        self._dtype_policy = dtype_policies.get(dtype)
        self._trainable = trainable
        self.autocast = autocast
        self.activity_regularizer = _get_regularizer(activity_regularizer)
        if input_shape is not None:
            warnings.warn(
                "Do not pass an `input_shape`/`input_dim` argument to a layer. When using Sequential models, prefer "
                "using an `Input(shape)` object as the first layer in the model instead.",
                stacklevel=2,
            )
            self._input_shape_arg = tuple(input_shape)
        self.built = False
        self._called = False
        self._path: str | None = None
        self._input_spec = None
        self.supports_jit = True
        self.__dict__["_losses"] = []
        self.__dict__["_loss_ids"] = set()
        self.__dict__["_build_shapes_dict"] = None
        self._call_signature = signature_of(self.call)
        self.__dict__["call_signature_parameters"] = list(self._call_signature.parameters)
        self._call_has_mask_arg = "mask" in self.call_signature_parameters
        self._call_has_training_arg = "training" in self.call_signature_parameters
        self.__dict__["_call_context_args"] = {"training"}
        self._supports_masking = not is_default(self.compute_mask)
        # Models set these: they convert their inputs themselves, and take more than tensors by position.
        self._convert_input_args = True
        self._allow_non_tensor_positional_args = False

    # -- building ----------------------------------------------------------------------------------
    @_building
    @default
    def build(self, input_shape: Any) -> None:
        """Create the variables that depend on the shape of the input. Called once, before the first `call`.

        input_shape: the shape of the first argument of `call` (nested as it is). With several parameters each is named
            after an argument of `call`, with the suffix `_shape`.
        """
        self._check_super_called()
        if is_default(self.build) and any(not layer.built for layer in self._layers):
            warnings.warn(
                f"`build()` was called on layer '{self.name}', however the layer does not have a `build()` method "
                "implemented and it looks like it has unbuilt state. This will cause the layer to be marked as built, "
                "despite not being actually built, which may cause failures down the line. Make sure to implement a "
                "proper `build()` method.",
                stacklevel=3,
            )

    def _post_build(self) -> None:
        """Hook after `build`."""

    def _build_at_init(self) -> None:
        """For layers without variables: mark as built at once."""
        if is_default(self.build):
            self.built = True
            self._post_build()
            self._lock_state()

    def _maybe_build(self, spec: CallSpec) -> None:
        if self.built:
            return
        if not is_default(self.build):
            self.build(**shapes_for(self.build, spec, type(self).__name__))
            self._assert_input_compatibility(spec.first)  # build may have set input_spec
            return
        if any(not layer.built for layer in self._layers):
            try:
                self._build_by_tracing(*spec.bound.args, **spec.bound.kwargs)
            except Exception as error:
                if spec.eager:
                    return  # the call itself will build the sublayers
                warnings.warn(
                    f"Layer '{self.name}' looks like it has unbuilt state, but its `call()` cannot be traced in order "
                    "to build it automatically. Possible causes:\n1. `call()` fails: try the layer on some test data "
                    "first.\n2. The layer needs a `build(self, input_shape)` method which creates all variables, for "
                    f"example by calling `build()` of all its sublayers.\nException encountered: '{error}'",
                    stacklevel=4,
                )
            if spec.eager and values_were_guessed() and any(not layer.built for layer in self._layers):
                return  # layers behind decisions on values are built when they are reached
        self.build(next(iter(spec.shapes().values()), None))

    def _build_by_tracing(self, *args: Any, **kwargs: Any) -> None:
        """Build sublayers by running `call` on symbolic tensors like the arguments."""
        args, kwargs = tree.map_structure(
            lambda x: KerasTensor(x.shape, x.dtype) if isinstance(x, Tensor) else x, (args, kwargs)
        )
        compute_output_spec(self.call, *args, **kwargs)

    def get_build_config(self) -> dict[str, Any] | None:
        """The shapes that `build` was called with, for saving."""
        shapes = self._build_shapes_dict
        if shapes is None:
            return None
        return {"input_shape": next(iter(shapes.values()))} if len(shapes) == 1 else {"shapes_dict": shapes}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Build as `get_build_config` recorded it."""
        if not config:
            return
        if "input_shape" in config:
            self.build(config["input_shape"])
        elif "shapes_dict" in config:
            self.build(**config["shapes_dict"])

    def _obj_type(self) -> str:
        return "Layer"

    # -- attributes --------------------------------------------------------------------------------
    @property
    def path(self) -> str | None:
        """Where the layer was built: the names of the layers around it and its own, joined by "/"."""
        return self._path

    @property
    def input_spec(self) -> Any:
        """InputSpec (or nested ones) that the first argument of `call` is checked against."""
        return self._input_spec

    @input_spec.setter
    def input_spec(self, value: Any) -> None:
        self._input_spec = value

    @property
    def supports_masking(self) -> bool:
        """Whether masks pass through. Without it a mask on the input is dropped with a warning."""
        return self._supports_masking

    @supports_masking.setter
    def supports_masking(self, value: bool) -> None:
        self._supports_masking = value

    @default
    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of the output, given the first argument and its mask. The input's mask by default."""
        return previous_mask

    # -- calling -----------------------------------------------------------------------------------
    @filter_traceback
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._check_super_called()
        self._called = True
        symbolic = any_symbolic_tensors(args, kwargs)
        original = (args, kwargs)
        if self._convert_input_args and not self._is_ready(args, kwargs):
            args, kwargs = tree.map_structure(self._convert, (args, kwargs))
        if not self._allow_non_tensor_positional_args:
            self._check_positional(args)
        spec = CallSpec(self, self._call_signature, self._call_context_args, args, kwargs)
        self._assert_input_compatibility(spec.first)
        with self._open_name_scope():
            self._maybe_build(spec)
        outer = current_call_context()
        if outer is None:
            set_call_context(CallContext(self))
            self._clear_losses()
        try:
            self._fill_context_arguments(spec)
            previous_mask = self._fill_masks(spec)
            outputs = self._call_in_scopes(spec)
            self._set_output_masks(spec.first, outputs, previous_mask)
        finally:
            if outer is None:
                set_call_context(None)
        if symbolic:
            Node(self, *original, outputs)
        return outputs

    def _is_ready(self, args: Any, kwargs: Any) -> bool:
        """The common case that needs no conversion: one tensor of the right dtype."""
        return not kwargs and len(args) == 1 and is_tensor_or_symbolic(args[0]) and args[0].dtype == self.input_dtype

    def _convert(self, x: Any) -> Any:
        mask = get_keras_mask(x)
        converted = self.dtype_policy.convert_input(x, self.autocast, self.input_dtype)
        if mask is not None and converted is not x:
            set_keras_mask(converted, mask)
        return converted

    def _check_positional(self, args: Any) -> None:
        for x in tree.flatten(args):
            if x is not None and not is_tensor_or_symbolic(x):
                raise ValueError(
                    "Only input tensors may be passed as positional arguments. The following argument value of layer "
                    f"'{self.name}' should be passed as a keyword argument: {x} (of type {type(x)}). Lists of numbers "
                    "become tensors with np.array(...) or ops.convert_to_tensor(...)."
                )

    def _fill_context_arguments(self, spec: CallSpec) -> None:
        """`training` and the like: the caller's value, else the enclosing call's, else the default of `call`."""
        context = current_call_context()
        assert context is not None
        for name in self._call_context_args:
            if name in spec.given:
                value = spec.given[name]
            elif context.get_value(name) is not None:
                value = context.get_value(name)
            else:
                value = spec.arguments.get(name)
            context.set_value(name, value)
            if value is not None and name in self.call_signature_parameters:
                spec.kwargs[name] = value

    def _fill_masks(self, spec: CallSpec) -> Any:
        """Pass the masks of tensor arguments to `call` where it takes them; returns that of the first argument."""
        if len(spec.tensors) == 1:
            wanted = {"mask": next(iter(spec.tensors.values()))}
        else:
            wanted = {f"{name}_mask": value for name, value in spec.tensors.items()}
        for name, value in wanted.items():
            if name in spec.arguments and spec.arguments[name] is None:
                spec.kwargs[name] = tree.map_structure(get_keras_mask, value)
        if spec.kwargs.get("mask") is not None:
            return spec.kwargs["mask"]
        return tree.map_structure(get_keras_mask, spec.first)

    def _call_in_scopes(self, spec: CallSpec) -> Any:
        with self._open_name_scope(), origin(layer=self._path or self.name):
            scope = self._autocast_scope()
            if scope is None:
                outputs = self._run(spec.args, spec.kwargs)
            else:
                with scope:
                    outputs = self._run(spec.args, spec.kwargs)
            self.built = True
            if self.activity_regularizer is not None:
                self._add_activity_losses(outputs)
        return outputs

    def _autocast_scope(self) -> AutocastScope | None:
        """The scope to open around `call`, or None where the present one is right."""
        current = get_autocast_scope()
        compute = self.compute_dtype
        if current is None:
            return AutocastScope(compute) if compute != self.variable_dtype else None
        if not self.autocast or not is_float_dtype(compute):
            return AutocastScope(None)
        return AutocastScope(compute) if current.dtype != compute else None

    def _add_activity_losses(self, outputs: Any) -> None:
        for x in tree.flatten(outputs):
            if isinstance(x, Tensor):
                loss = self.activity_regularizer(x)
                self.add_loss(loss / x.shape[0] if x.ndim > 0 and x.shape[0] > 0 else loss)

    def _set_output_masks(self, first: Any, outputs: Any, previous_mask: Any) -> None:
        if not self.supports_masking:
            if any(m is not None for m in tree.flatten(previous_mask)):
                warnings.warn(
                    f"Layer '{self.name}' (of type {type(self).__name__}) was passed an input with a mask attached to "
                    "it. However, this layer does not support masking and will therefore destroy the mask "
                    "information. Downstream layers will not see the mask.",
                    stacklevel=4,
                )
            return
        flat = tree.flatten(outputs)
        if all(get_keras_mask(x) is not None for x in flat):
            return
        masks = self.compute_mask(first, previous_mask)
        if masks is None:
            return
        for x, mask in zip(flat, tree.flatten(masks), strict=False):
            if mask is not None and get_keras_mask(x) is None:
                set_keras_mask(x, mask)

    def _assert_input_compatibility(self, first: Any) -> None:
        if self.input_spec:
            assert_input_compatibility(self.input_spec, first, layer_name=self.name)

    def _open_name_scope(self) -> name_scope:
        return name_scope(self.name, caller=self)

    def _register_call_context_args(self, *names: str) -> None:
        """Declare arguments which are handed down to sublayers that take them, as `training` is."""
        if self._called:
            raise RuntimeError(f"Cannot add call-context args to layer '{self.name}' after it has been called.")
        self._call_context_args.update(names)

    def symbolic_call(self, *args: Any, **kwargs: Any) -> Any:
        return self.compute_output_spec(*args, **kwargs)  # `__call__` records the node

    @default
    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The computation. To be implemented by subclasses."""
        raise NotImplementedError(f"Layer {type(self).__name__} does not have a `call` method implemented.")

    # -- shapes ------------------------------------------------------------------------------------
    @default
    def compute_output_shape(self, *args: Any, **kwargs: Any) -> Any:
        """The shape of the output for a shape of the input. Inferred by tracing `call` unless overridden."""
        if is_default(self.compute_output_spec) and not is_default(self.call) and (args or kwargs):
            return self._traced_output_shape(*args, **kwargs)
        raise NotImplementedError(
            f"Layer {type(self).__name__} does not have a `compute_output_shape` method implemented. "
            "Should implement `def compute_output_shape(self, input_shape)`."
        )

    def _traced_output_shape(self, *args: Any, **kwargs: Any) -> Any:
        def tensors(shape: Any) -> Any:
            return tree.map_shape_structure(lambda s: KerasTensor(s, self.compute_dtype), shape)

        named = {name.removesuffix("_shape"): tensors(shape) for name, shape in kwargs.items()}
        if "input" in named and "input" not in self.call_signature_parameters:
            args = (kwargs["input_shape"], *args)
            del named["input"]
        outputs = Operation.compute_output_spec(self, *(tensors(shape) for shape in args), **named)
        return tree.map_structure(lambda x: x.shape, outputs)

    @default
    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """KerasTensors like the output: from `compute_output_shape` where it is overridden, else by tracing `call`."""
        if is_default(self.compute_output_shape):
            return super().compute_output_spec(*args, **kwargs)
        spec = CallSpec(self, self._call_signature, self._call_context_args, args, kwargs)
        shapes = shapes_for(self.compute_output_shape, spec, type(self).__name__)
        shape = self.compute_output_shape(**shapes)
        if not isinstance(shape, (list, tuple, dict)):
            raise ValueError(
                f"Method `compute_output_shape()` of layer {type(self).__name__} should return a shape tuple, or "
                f"nested ones. Received: {shape}"
            )
        return tree.map_shape_structure(lambda s: KerasTensor(s, dtype=self.compute_dtype), shape)

    # -- config ------------------------------------------------------------------------------------
    @default
    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments. Subclasses add theirs to `super().get_config()`."""
        from graphkeras import dtype_policies, regularizers

        self._check_super_called()
        config = super().get_config()
        own = {"trainable": self.trainable, "dtype": dtype_policies.serialize(self.dtype_policy)}
        if is_default(self.get_config):  # recorded by itself: only what the constructor takes back
            own = {name: value for name, value in own.items() if accepts(type(self), name)}
        config.update(own)
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        return config

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.__dict__.get('name')}, built={self.__dict__.get('built')}>"

    def __str__(self) -> str:
        return self.__repr__()


def _get_regularizer(identifier: Any) -> Any:
    if identifier is None:
        return None
    from graphkeras import regularizers

    return regularizers.get(identifier)
