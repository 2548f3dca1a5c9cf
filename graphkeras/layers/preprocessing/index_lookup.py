"""IndexLookup: base of IntegerLookup and StringLookup, and the vocabulary that TextVectorization uses."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import numpy as np

from graphkeras import ops
from graphkeras.core import config as gk_config
from graphkeras.core.keras_tensor import KerasTensor, any_symbolic_tensors
from graphkeras.core.tensor import Operators, Tensor
from graphkeras.layers.preprocessing.category_encoding import refuse_sparse
from graphkeras.layers.preprocessing.data_layer import DataLayer
from graphkeras.layers.preprocessing.discretization import batches
from graphkeras.layers.preprocessing.encoding import MODES, encode, encoded_shape, hash_bucket, text_array

OLD_MODES = {"binary": "multi_hot", "tf-idf": "tf_idf"}


class IndexLookup(DataLayer):
    """Maps tokens to indices by a vocabulary, or back with `invert`.

    The order of indices is: the mask token (if there is one and the mode is "int"), the indices for unknown tokens, the
    vocabulary: by falling frequency where `adapt` learns it, equals in reverse order of the tokens.
    """

    def __init__(
        self,
        max_tokens: int | None,
        num_oov_indices: int,
        mask_token: Any,
        oov_token: Any,
        vocabulary_dtype: str,
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        oov_method: str = "floormod",
        name: str | None = None,
        salt: Any = None,
        **kwargs: Any,
    ) -> None:
        self.vocabulary_dtype = vocabulary_dtype
        frozen = kwargs.pop("vocabulary_size", None)
        given = kwargs.pop("has_input_vocabulary", vocabulary is not None)
        output_mode = OLD_MODES.get(output_mode, output_mode)
        kwargs = {k: v for k, v in kwargs.items() if k not in ("trainable", "dtype")}
        if kwargs:
            raise ValueError(f"Unrecognized keyword argument(s) of {type(self).__name__}: {kwargs}")
        super().__init__(name=name)
        self.max_tokens, self.num_oov_indices = max_tokens, num_oov_indices
        self.mask_token, self.oov_token = mask_token, oov_token
        self.invert, self.output_mode, self.sparse = invert, output_mode, sparse
        self.pad_to_max_tokens, self.oov_method = pad_to_max_tokens, oov_method
        self._check_arguments(idf_weights)
        self.salt = self._checked_salt(salt)
        self.supports_jit = False
        self._convert_input_args = False
        self._frozen_vocab_size = frozen
        self._has_input_vocabulary = given
        self._set_tokens([])
        # Vocabularies are no state in the sense of variables, and may be long: they are kept out of tracking.
        self.__dict__["input_vocabulary"] = None if isinstance(vocabulary, str) else _as_list(vocabulary)
        self.__dict__["input_idf_weights"] = _as_list(idf_weights)
        self.__dict__["idf_weights"] = None
        self.reset_state()
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)

    def _check_arguments(self, idf_weights: Any) -> None:
        name = type(self).__name__
        if self.max_tokens is not None and self.max_tokens <= 1:
            raise ValueError(
                f"If `max_tokens` is set for `{name}`, it must be greater than 1. "
                f"Received: max_tokens={self.max_tokens}"
            )
        if self.pad_to_max_tokens and self.max_tokens is None:
            raise ValueError(
                f"If pad_to_max_tokens is True, must set `max_tokens` of {name}. Received: max_tokens=None"
            )
        if self.num_oov_indices < 0:
            raise ValueError(
                f"`num_oov_indices` of {name} must be greater than or equal to 0. "
                f"Received: num_oov_indices={self.num_oov_indices}"
            )
        for argument, value, known in (
            ("oov_method", self.oov_method, ("floormod", "farmhash")),
            ("output_mode", self.output_mode, (*MODES, "tf_idf")),
        ):
            if value not in known:
                raise ValueError(
                    f"Unknown value for `{argument}` of {name}. Expected one of {known}. Received: {argument}={value}"
                )
        if self.invert and self.output_mode != "int":
            raise ValueError(
                f"`output_mode` must be `'int'` when `invert` is true. Received: output_mode={self.output_mode}"
            )
        refuse_sparse(self.sparse, name)
        if idf_weights is not None and self.output_mode != "tf_idf":
            raise ValueError(
                "`idf_weights` should only be set if `output_mode` is `'tf_idf'`. "
                f"Received: idf_weights={idf_weights} and output_mode={self.output_mode}"
            )

    def _checked_salt(self, salt: Any) -> list[int] | None:
        if salt is None:
            return None
        if self._is_integer() and self.oov_method != "farmhash":
            raise ValueError(
                f"`salt` can only be used when `oov_method='farmhash'`. Received: oov_method={self.oov_method}"
            )
        if isinstance(salt, int):
            return [salt, salt]
        if isinstance(salt, (list, tuple)) and len(salt) == 2:
            return list(salt)
        raise ValueError(
            f"The `salt` argument for `{type(self).__name__}` can only be a tuple of 2 integers, or a single integer. "
            f"Received: salt={salt}."
        )

    def _is_integer(self) -> bool:
        return self.vocabulary_dtype != "string"

    # -- the vocabulary ----------------------------------------------------------------------------------
    def _set_tokens(self, tokens: list[Any]) -> None:
        start = self._token_start_index()
        self.__dict__["_tokens"] = tokens
        self.__dict__["_table"] = {t: i for i, t in enumerate(tokens, start)}

    def _oov_start_index(self) -> int:
        return 1 if self.mask_token is not None and self.output_mode == "int" else 0

    def _token_start_index(self) -> int:
        return self._oov_start_index() + self.num_oov_indices

    def vocabulary_size(self) -> int:
        """Number of indices, with those for the mask and unknown tokens."""
        return len(self._tokens) + self._token_start_index()

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The tokens in the order of their indices.

        include_special_tokens: begin with the mask token and those for unknown tokens, so that positions are indices.
        """
        if not include_special_tokens:
            return list(self._tokens)
        return [*self._special_tokens(), *self._tokens]

    def _special_tokens(self) -> list[Any]:
        return [self.mask_token] * self._oov_start_index() + [self.oov_token] * self.num_oov_indices

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Use a vocabulary instead of learning one.

        vocabulary: sequence of tokens, or the path of a text file with one per line (which needs unsafe
            deserialization to be enabled: a file that a config names must not be read unasked).
        idf_weights: with "tf_idf", one weight per token.
        """
        if (self.output_mode == "tf_idf") != (idf_weights is not None):
            raise ValueError(
                "`idf_weights` must be set if output_mode is 'tf_idf', and should only be set then. "
                f"Received: output_mode={self.output_mode} and idf_weights={idf_weights}"
            )
        if isinstance(vocabulary, str):
            vocabulary = self._read_file(vocabulary)
        given = self._tokens_of(vocabulary)
        if not given:
            raise ValueError(f"Cannot set an empty vocabulary. Received: vocabulary={vocabulary}")
        special = self._special_tokens()
        with_special = given[: len(special)] == special
        tokens = given[len(special) :] if with_special else given
        self._check_tokens(tokens, given)
        self._set_tokens(tokens)
        self._record_vocabulary_size()
        if idf_weights is not None:
            self._set_idf_weights(idf_weights, given, with_special)

    def _tokens_of(self, vocabulary: Any) -> list[Any]:
        if self._is_integer():
            return [int(v) for v in np.asarray(vocabulary).reshape(-1)]
        return (
            text_array(list(vocabulary) if isinstance(vocabulary, (list, tuple)) else vocabulary).reshape(-1).tolist()
        )

    def _read_file(self, path: str) -> list[Any]:
        from graphkeras.saving import serialization_lib

        if serialization_lib.in_safe_mode():
            raise ValueError(
                "Requested the loading of a vocabulary file outside of the model archive. This carries a potential "
                "risk of loading arbitrary and sensitive files and thus it is disallowed by default. If you trust the "
                "source of the artifact, you can override this error by passing `safe_mode=False` to the loading "
                f"function, or calling `keras.config.enable_unsafe_deserialization()`. Vocabulary file: '{path}'"
            )
        if not os.path.exists(path):
            raise ValueError(f"Vocabulary file {path} does not exist.")
        if self.output_mode == "tf_idf":
            raise ValueError("output_mode `'tf_idf'` does not support loading a vocabulary from file.")
        with open(path, encoding="utf-8") as f:
            return f.read().splitlines()

    def _check_tokens(self, tokens: list[Any], given: list[Any]) -> None:
        repeated = [t for t, n in Counter(tokens).items() if n > 1]
        if repeated:
            raise ValueError(
                "The passed vocabulary has at least one repeated term. Please uniquify your dataset. The repeated "
                f"terms are: {repeated}"
            )
        reserved = [("mask", self.mask_token)] + ([("OOV", self.oov_token)] if self.invert else [])
        for kind, token in reserved:
            if token is not None and token in tokens:
                raise ValueError(
                    f"Found reserved {kind} token at unexpected location in `vocabulary`. Note that passed "
                    "`vocabulary` does not need to include the OOV and mask tokens. Either remove all mask and OOV "
                    "tokens, or include them only at the start of the vocabulary in precisely this order: "
                    f"{self._special_tokens()}. Received: {token!r} at vocabulary index {given.index(token)}"
                )
        size = len(tokens) + self._token_start_index()
        if self.max_tokens is not None and size > self.max_tokens:
            raise ValueError(
                "Attempted to set a vocabulary larger than the maximum vocab size. Received vocabulary size is "
                f"{size}; `max_tokens` is {self.max_tokens}."
            )

    def _set_idf_weights(self, weights: Any, given: list[Any], with_special: bool) -> None:
        weights = np.asarray(weights, dtype="float64")
        if weights.ndim != 1 or len(weights) != len(given):
            raise ValueError(
                "`idf_weights` must be a list of the same length as vocabulary. "
                f"idf_weights has shape {weights.shape}; len(vocabulary) is {len(given)}"
            )
        front = 0 if with_special else self._token_start_index()
        # Frequencies of unknown tokens are not known: they take the average.
        self.__dict__["idf_weights"] = self._padded(np.pad(weights, (front, 0), constant_values=weights.mean()))

    def _padded(self, weights: np.ndarray) -> np.ndarray:
        back = self.max_tokens - len(weights) if self.pad_to_max_tokens else 0
        return np.pad(weights, (0, back)).astype(gk_config.floatx())

    def _record_vocabulary_size(self) -> None:
        """In the modes with vectors the size may not change after the first use."""
        size = self.vocabulary_size()
        fixed = self.output_mode != "int" and not self.pad_to_max_tokens
        if fixed and self._frozen_vocab_size is not None and size != self._frozen_vocab_size:
            raise RuntimeError(
                f"When using `output_mode={self.output_mode}` and `pad_to_max_tokens=False`, the vocabulary size "
                f"cannot be changed after the layer is called. Old vocab size is {self._frozen_vocab_size}, new vocab "
                f"size is {size}"
            )
        self._frozen_vocab_size = size

    # -- learning it -------------------------------------------------------------------------------------
    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Learn the vocabulary from data: an array or list of tokens, or an iterable of batches of them.

        Tokens are ordered by falling frequency, those of the same frequency in reverse order; at most `max_tokens` are
        kept. In the mode "tf_idf" each row is a document.
        """
        self.reset_state()
        for batch in batches(data, steps):
            array = self._as_array(batch)
            whole = isinstance(data, (list, tuple, np.ndarray, Operators))
            self.update_state(array[:, None] if whole and array.ndim == 1 else array)
        self.finalize_state()

    def update_state(self, data: Any) -> None:
        """Count the tokens of a batch: rows are documents."""
        if self._has_input_vocabulary:
            raise ValueError(
                f"Cannot adapt layer '{self.name}' after setting a static vocabulary via `vocabulary` argument or "
                "`set_vocabulary()` method."
            )
        array = self._as_array(data)
        self.count_documents(array.reshape(1, -1) if array.ndim <= 1 else array.reshape(array.shape[0], -1))

    def count_documents(self, documents: Any) -> None:
        """Count the tokens of documents, each a sequence of them."""
        for document in documents:
            self._counts.update(document)
            if self.output_mode == "tf_idf":
                self._document_counts.update(set(document))
        self.__dict__["_documents"] += len(documents)

    def finalize_state(self) -> None:
        if self._has_input_vocabulary or not self._counts:
            self._record_vocabulary_size()
            return
        for special in (self.mask_token, self.oov_token):
            self._counts.pop(special, None)
        order = sorted(self._counts.items(), key=lambda item: (item[1], _sort_key(item[0])), reverse=True)
        room = None if self.max_tokens is None else self.max_tokens - self._token_start_index()
        tokens = [token for token, _ in order[:room]]
        if self.output_mode == "tf_idf":
            seen = np.array([self._document_counts[t] for t in tokens], dtype="float64")
            weights = np.log(1 + self._documents / (1 + seen))
            front = self._token_start_index()
            weights = self._padded(np.pad(weights, (front, 0), constant_values=weights.mean()))
            self.__dict__["idf_weights"] = weights
        self._set_tokens(tokens)
        self.reset_state()
        self._record_vocabulary_size()

    def reset_state(self) -> None:
        """Forget what was counted (not the vocabulary)."""
        self.__dict__["_counts"], self.__dict__["_document_counts"] = Counter(), Counter()
        self.__dict__["_documents"] = 0

    # -- looking up --------------------------------------------------------------------------------------
    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        traced = isinstance(inputs, Tensor) and inputs.is_traced
        if traced or any_symbolic_tensors((inputs,)):
            return super().__call__(inputs, *args, **kwargs)
        return self.call(inputs)  # plain Python on plain data

    def call(self, inputs: Any) -> Any:
        self._ensure_known_vocab_size()
        if isinstance(inputs, Tensor) and inputs.is_traced:
            return self._encoded(self._lookup_traced(inputs))
        array = self._as_array(inputs, keys=True)
        if self.invert:
            names = dict(enumerate(self._tokens, self._token_start_index()))
            if self.mask_token is not None:
                names[0] = self.mask_token
            found = [names.get(i, self.oov_token) for i in array.reshape(-1).tolist()]
            if self._is_integer():
                return ops.convert_to_tensor(np.array(found, "int64").reshape(array.shape), dtype="int64")
            return np.array(found, dtype=object).reshape(array.shape)
        return self._encoded(ops.convert_to_tensor(self.lookup(array), dtype="int64"))

    def _as_array(self, data: Any, keys: bool = False) -> np.ndarray:
        if self._is_integer() or (keys and self.invert):
            return np.asarray(data.numpy() if hasattr(data, "numpy") else data).astype("int64")
        return text_array(data)

    def lookup(self, array: np.ndarray) -> np.ndarray:
        """Indices of an array of tokens."""
        tokens, inverse = np.unique(array.reshape(-1), return_inverse=True)
        found = np.array([self._index_of(t) for t in tokens.tolist()], dtype="int64")
        return found[inverse].reshape(array.shape) if array.size else np.zeros(array.shape, "int64")

    def _index_of(self, token: Any) -> int:
        if self.mask_token is not None and token == self.mask_token:
            return 0 if self.output_mode == "int" else np.iinfo("int64").max  # counts nowhere in vectors
        index = self._table.get(token)
        if index is not None:
            return index
        if self.num_oov_indices == 0:
            raise ValueError(
                f"When `num_oov_indices=0` all inputs should be in vocabulary, found OOV values {token!r} in layer "
                f"{self.name}, consider setting `num_oov_indices=1`."
            )
        if self.num_oov_indices == 1:
            return self._oov_start_index()
        if self._is_integer() and self.oov_method == "floormod":
            return self._oov_start_index() + token % self.num_oov_indices
        return self._oov_start_index() + hash_bucket(str(token), self.num_oov_indices, self.salt)

    def _lookup_traced(self, inputs: Any) -> Any:
        """The same inside a compiled program: a binary search, for integers only."""
        if not self._is_integer() or self.invert or self.oov_method != "floormod":
            raise ValueError(
                f"Layer {self.name} ({type(self).__name__}) works on plain data only here, not inside a compiled "
                "model. Apply it to the data before fit() or predict()."
            )
        keys = np.array(sorted(self._table), dtype="int64")
        x = ops.cast(inputs, "int64")
        if not keys.size:
            return ops.full_like(x, self._oov_start_index())
        values = np.array([self._table[k] for k in keys.tolist()], dtype="int64")
        place = ops.minimum(ops.cast(ops.searchsorted(keys, ops.reshape(x, (-1,))), "int32"), len(keys) - 1)
        place = ops.reshape(place, x.shape)
        oov = self._oov_start_index() + (ops.mod(x, self.num_oov_indices) if self.num_oov_indices > 1 else 0)
        found = ops.where(ops.equal(ops.take(keys, place), x), ops.take(values, place), oov)
        if self.mask_token is None:
            return found
        hidden = 0 if self.output_mode == "int" else -1
        return ops.where(ops.equal(x, int(self.mask_token)), ops.cast(hidden, "int64"), found)

    def _encoded(self, indices: Any) -> Any:
        if self.output_mode == "int":
            return ops.cast(indices, "int64")
        depth = self.max_tokens if self.pad_to_max_tokens else self._frozen_vocab_size
        if self.output_mode != "tf_idf":
            return encode(indices, self.output_mode, depth, "int64")
        if self.idf_weights is None:
            raise ValueError(f"Layer {self.name}: when `output_mode` is `'tf_idf'`, `idf_weights` must be provided.")
        return encode(indices, "count", depth, gk_config.floatx()) * self.idf_weights

    def _ensure_known_vocab_size(self) -> None:
        if self.output_mode != "int" and not self.pad_to_max_tokens and self._frozen_vocab_size is None:
            raise RuntimeError(
                f"When using `output_mode={self.output_mode}` and `pad_to_max_tokens=False`, you must set the layer's "
                "vocabulary before calling it. Either pass a `vocabulary` argument to the layer, or call `adapt` with "
                "some sample data."
            )

    # -- shapes, config, files ---------------------------------------------------------------------------
    @property
    def compute_dtype(self) -> str:
        return self.vocabulary_dtype

    @property
    def variable_dtype(self) -> str:  # type: ignore[override]
        return self.vocabulary_dtype

    def compute_output_shape(self, input_shape: Any) -> Any:
        depth = self.max_tokens if self.pad_to_max_tokens else self._frozen_vocab_size
        mode = "count" if self.output_mode == "tf_idf" else self.output_mode
        return encoded_shape(input_shape, mode, depth)

    def compute_output_spec(self, inputs: Any) -> Any:
        dtype = "int64" if self.output_mode == "int" else gk_config.floatx()
        return KerasTensor(self.compute_output_shape(inputs.shape), dtype=dtype)

    def get_build_config(self) -> dict[str, Any]:
        return {}

    def build_from_config(self, config: dict[str, Any]) -> None:
        self.build(None)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "invert": self.invert,
            "max_tokens": self.max_tokens,
            "num_oov_indices": self.num_oov_indices,
            "oov_token": self.oov_token,
            "mask_token": self.mask_token,
            "output_mode": self.output_mode,
            "sparse": self.sparse,
            "pad_to_max_tokens": self.pad_to_max_tokens,
            "vocabulary_dtype": self.vocabulary_dtype,
            "idf_weights": self.input_idf_weights,
            "vocabulary": self.input_vocabulary,
            "vocabulary_size": self._frozen_vocab_size,
            "oov_method": self.oov_method,
            "salt": self.salt,
        }

    def save_own_variables(self, store: Any) -> None:
        if self.output_mode == "tf_idf":
            store["idf_weights"] = self.idf_weights

    def load_own_variables(self, store: Any) -> None:
        if self.output_mode == "tf_idf":
            self.__dict__["idf_weights"] = np.asarray(store["idf_weights"])

    def save_assets(self, dir_path: str) -> None:
        """Write a learned vocabulary to vocabulary.txt; a given one is in the config."""
        if self.input_vocabulary is None:
            with open(os.path.join(dir_path, "vocabulary.txt"), "w", encoding="utf-8") as f:
                f.write("\n".join(str(w) for w in self.get_vocabulary()))

    def load_assets(self, dir_path: str) -> None:
        if self.input_vocabulary is not None:
            return
        with open(os.path.join(dir_path, "vocabulary.txt"), encoding="utf-8") as f:
            lines = f.read().split("\n")
        while lines and lines[-1] == "":
            lines.pop()
        weights = self.idf_weights if self.output_mode == "tf_idf" else None
        if lines:
            self.set_vocabulary(lines, idf_weights=None if weights is None else weights[: len(lines)])


def _as_list(values: Any) -> Any:
    if values is None or isinstance(values, str):
        return values
    return np.asarray(values.numpy() if hasattr(values, "numpy") else values).tolist()


def _sort_key(token: Any) -> Any:
    return token.encode("utf-8") if isinstance(token, str) else token
