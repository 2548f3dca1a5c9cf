"""What `layer.quantize(mode, config)` does with weights and activations."""

from __future__ import annotations

from typing import Any

from graphkeras.quantizers.quantizers import AbsMaxQuantizer
from graphkeras.saving import deserialize_keras_object, serialize_keras_object

MODES = ("int8", "float8", "int4", "gptq", "awq")


class QuantizationConfig:
    """Base of the configs.

    Args:
        weight_quantizer: for the weights; None chooses the mode's own.
        activation_quantizer: for the inputs; None leaves them as floats.
    """

    def __init__(self, weight_quantizer: Any = None, activation_quantizer: Any = None) -> None:
        self.weight_quantizer = weight_quantizer
        self.activation_quantizer = activation_quantizer

    @property
    def mode(self) -> str:
        """The name of the mode."""
        raise NotImplementedError("Use a subclass, such as Int8QuantizationConfig: QuantizationConfig has no mode.")

    def get_config(self) -> dict[str, Any]:
        return {
            "weight_quantizer": serialize_keras_object(self.weight_quantizer),
            "activation_quantizer": serialize_keras_object(self.activation_quantizer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        names = ("weight_quantizer", "activation_quantizer")
        return cls(**{**config, **{n: deserialize_keras_object(config[n]) for n in names if n in config}})

    @staticmethod
    def weight_quantizer_or_default(config: Any, default: Any) -> Any:
        """The config's weight quantizer, if there is one."""
        chosen = None if config is None else config.weight_quantizer
        return default if chosen is None else chosen

    @staticmethod
    def activation_quantizer_or_default(config: Any, default: Any) -> Any:
        """The config's activation quantizer (possibly None), or the default without a config."""
        return default if config is None else config.activation_quantizer


def _need(name: str, quantizer: Any, **wanted: Any) -> None:
    for attribute, value in wanted.items():
        if quantizer is not None and getattr(quantizer, attribute) != value:
            raise ValueError(
                f"{name} requires a weight_quantizer with {attribute}={value!r}. "
                f"Received: {attribute}={getattr(quantizer, attribute)}"
            )


class Int8QuantizationConfig(QuantizationConfig):
    """8-bit weights with a scale per output channel, 8-bit inputs with a scale per sample.

    Args:
        weight_quantizer: with output dtype int8; default `AbsMaxQuantizer`.
        activation_quantizer: default `AbsMaxQuantizer`; None for floats.
    """

    def __init__(self, weight_quantizer: Any = None, activation_quantizer: Any = "default") -> None:
        if isinstance(activation_quantizer, str) and activation_quantizer == "default":
            activation_quantizer = AbsMaxQuantizer()
        super().__init__(weight_quantizer, activation_quantizer)
        _need("Int8QuantizationConfig", weight_quantizer, output_dtype="int8")

    @property
    def mode(self) -> str:
        return "int8"


class Int4QuantizationConfig(QuantizationConfig):
    """4-bit weights, two in a byte, with a scale and zero point for each group of inputs; inputs stay floats.

    Args:
        weight_quantizer: with the range (-8, 7); only without groups.
        activation_quantizer: default None; only without groups.
        block_size: inputs per group; None or -1 for one scale per output channel.
    """

    def __init__(
        self, weight_quantizer: Any = None, activation_quantizer: Any = "default", block_size: int | None = 128
    ) -> None:
        if isinstance(activation_quantizer, str) and activation_quantizer == "default":
            activation_quantizer = None
        super().__init__(weight_quantizer, activation_quantizer)
        if block_size is not None and block_size != -1 and block_size <= 0:
            raise ValueError(f"block_size must be None, -1, or a positive integer. Received: block_size={block_size}")
        if block_size not in (None, -1) and (weight_quantizer is not None or activation_quantizer is not None):
            raise ValueError(
                "Int4 sub-channel quantization (block_size > 0) does not support custom quantizers. Either set "
                "block_size to None or -1 for per-channel quantization, or remove the custom quantizer arguments. "
                f"Received: block_size={block_size}"
            )
        self.block_size = block_size
        _need("Int4QuantizationConfig", weight_quantizer, value_range=(-8, 7), output_dtype="int8")

    @property
    def mode(self) -> str:
        return "int4"

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "block_size": self.block_size}


def resolve_config(mode: Any, config: Any) -> QuantizationConfig:
    """The config that `quantize(mode, config)` means.

    Raises:
        ValueError: for an unknown mode, another type of config, or two that contradict each other.
        NotImplementedError: for modes that this version does not have.
    """
    if isinstance(config, str):
        mode, config = config, None
    if mode is not None and mode not in MODES:
        raise ValueError(f"Invalid quantization mode. Expected one of {MODES}. Received: mode={mode}")
    if config is None:
        made = {"int8": Int8QuantizationConfig, "int4": Int4QuantizationConfig}
        if mode is None:
            raise ValueError("You must provide either `mode` or `config` to `quantize`.")
        if mode not in made:
            raise NotImplementedError(f"Quantization mode {mode!r} is not available; use 'int8' or 'int4'.")
        return made[mode]()
    if not isinstance(config, QuantizationConfig):
        raise ValueError(
            "Argument `config` must be an instance of `QuantizationConfig`. "
            f"Received: config={config} (of type {type(config)})"
        )
    if mode is not None and config.mode != mode:
        raise ValueError(f"Contradictory arguments: mode='{mode}' but config.mode='{config.mode}'")
    return config
