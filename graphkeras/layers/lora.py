"""Low-rank adaptation: a frozen kernel K is replaced by K + (alpha / rank) * A @ B, with small trainable A and B.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.
"""

from __future__ import annotations

from typing import Any

from graphkeras import initializers, ops
from graphkeras.core.scopes import name_scope
from graphkeras.layers.configured import ConfiguredLayer


class LoraLayer(ConfiguredLayer):
    """Base of layers with one large matrix, kept in the attribute `_{LORA}` and read by the property `{LORA}`."""

    LORA = "kernel"

    def store_lora(self, lora_rank: int | None, lora_alpha: float | None) -> None:
        self.lora_rank = lora_rank
        self.lora_alpha = lora_alpha if lora_alpha is not None else lora_rank
        self.lora_enabled = False

    def finish_build(self) -> None:
        """To be called at the end of `build`."""
        self.built = True
        if self.lora_rank:
            self.enable_lora(self.lora_rank, lora_alpha=self.lora_alpha)

    def _matrix(self) -> Any:
        """The matrix that `call` uses: the variable, or its sum with the low-rank term."""
        if not self.built:
            raise AttributeError(f"You must build the layer before accessing `{self.LORA}` of layer {self.name}.")
        matrix = self._base_matrix()
        if not self.lora_enabled:
            return matrix
        a, b = self._lora_factors()
        delta = ops.multiply(self.lora_alpha / self.lora_rank, ops.matmul(a, b))
        return ops.cast(ops.add(matrix, delta), self.compute_dtype)

    def matrix_shape(self) -> tuple[int, ...]:
        """The shape of the matrix that is used, however it is kept."""
        return getattr(self, "_matrix_shape", None) or tuple(getattr(self, f"_{self.LORA}").shape)

    def _base_matrix(self) -> Any:
        return getattr(self, f"_{self.LORA}")

    def _lora_factors(self) -> tuple[Any, Any]:
        return getattr(self, f"lora_{self.LORA}_a"), getattr(self, f"lora_{self.LORA}_b")

    def enable_lora(
        self,
        rank: int,
        lora_alpha: float | None = None,
        a_initializer: Any = "he_uniform",
        b_initializer: Any = "zeros",
    ) -> None:
        """Freeze the matrix and train a low-rank addition to it instead.

        Args:
            rank: inner dimension of the addition.
            lora_alpha: the addition is scaled by `lora_alpha / rank`; default `rank`.
            a_initializer, b_initializer: of the two factors; with zeros for B training starts at the frozen matrix.

        Raises:
            ValueError: before the layer is built, a second time, or when the matrix has a constraint.
        """
        noun = "kernel" if self.LORA == "kernel" else "embedding"
        if getattr(self, f"{self.LORA}_constraint"):
            raise ValueError(
                f"Layer {self.name}: Lora is incompatible with {noun} constraints. In order to enable lora on this "
                f"layer, remove the `{self.LORA}_constraint` argument."
            )
        if not self.built:
            raise ValueError(f"Cannot enable lora on a layer that isn't yet built. Build layer {self.name} first.")
        if self.lora_enabled:
            raise ValueError(f"lora is already enabled. This can only be done once per layer; layer: {self.name}.")
        matrix = getattr(self, f"_{self.LORA}")
        *outer, last = self.matrix_shape()
        parent = (self.path or "").rpartition("/")[0]
        self._tracker.unlock()
        for letter, shape, initializer in (
            ("a", (*outer, rank), a_initializer),
            ("b", (rank, last), b_initializer),
        ):
            with name_scope(self.name, caller=self, override_parent=parent):
                weight = self.add_weight(
                    name=f"lora_{self.LORA}_{letter}",
                    shape=shape,
                    initializer=initializers.get(initializer),
                    dtype="float32",  # small updates would be lost in half precision
                    regularizer=getattr(self, f"{self.LORA}_regularizer"),
                )
            setattr(self, f"lora_{self.LORA}_{letter}", weight)
        matrix.trainable = False
        self._tracker.lock()
        self.lora_enabled = True
        self.lora_rank = rank
        self.lora_alpha = lora_alpha if lora_alpha is not None else rank

    def save_own_variables(self, store: Any) -> None:
        """Files hold the merged matrix, so that they load into layers without the addition."""
        if not self.lora_enabled:
            super().save_own_variables(store)
            return
        store["0"] = ops.convert_to_numpy(self._matrix())
        if getattr(self, "bias", None) is not None:
            store["1"] = ops.convert_to_numpy(self.bias)

    def load_own_variables(self, store: Any) -> None:
        if not self.lora_enabled:
            super().load_own_variables(store)
            return
        getattr(self, f"_{self.LORA}").assign(store["0"])
        if getattr(self, "bias", None) is not None:
            self.bias.assign(store["1"])
        for factor in self._lora_factors():
            factor.assign(ops.zeros(factor.shape))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.lora_rank:
            config["lora_rank"] = self.lora_rank
            config["lora_alpha"] = self.lora_alpha
        return config
