"""TextVectorization: strings as sequences of indices, or as bags of words."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkeras import ops
from graphkeras.core import config as gk_config
from graphkeras.core.keras_tensor import KerasTensor, any_symbolic_tensors
from graphkeras.core.tensor import Operators
from graphkeras.layers.preprocessing.category_encoding import refuse_sparse
from graphkeras.layers.preprocessing.data_layer import DataLayer
from graphkeras.layers.preprocessing.discretization import batches
from graphkeras.layers.preprocessing.encoding import MODES, text_array
from graphkeras.layers.preprocessing.index_lookup import OLD_MODES
from graphkeras.layers.preprocessing.lookups import StringLookup
from graphkeras.saving import deserialize_keras_object

STANDARDIZE = ("lower_and_strip_punctuation", "lower", "strip_punctuation")
SPLIT = ("whitespace", "character")
_NO_PUNCTUATION = str.maketrans("", "", "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'")


class TextVectorization(DataLayer):
    """Turns strings into indices of words: standardise, split, make n-grams, look up.

    It works on plain data (lists and arrays of strings): apply it before `fit`, or in the data pipeline.

    Args:
        max_tokens: largest size of the vocabulary, with padding and unknown words.
        standardize: "lower_and_strip_punctuation", "lower", "strip_punctuation", None, or a function on an array of
            strings.
        split: "whitespace", "character", None, or a function from an array of strings to sequences of words.
        ngrams: int n for all n-grams up to n, or a tuple of sizes.
        output_mode: "int" (sequences of indices, 0 is padding and 1 unknown), or "multi_hot", "count", "tf_idf" for
            vectors of the vocabulary's size.
        output_sequence_length: length to which sequences are padded or cut; the longest of a batch by default.
        pad_to_max_tokens: make vectors `max_tokens` long.
        vocabulary: list of words; None to learn it by `adapt`.
        idf_weights: with "tf_idf", a weight for each word.
        sparse, ragged: must be False.
        encoding: of bytes.

    Raises:
        ValueError: for arguments that do not go together.

    Example:
        >>> from graphkeras import layers
        >>> layer = layers.TextVectorization(output_sequence_length=4)
        >>> layer.adapt(["a cat", "a dog!"])
        >>> layer.get_vocabulary()
        ['', '[UNK]', 'a', 'dog', 'cat']
        >>> layer(["A cat sat."]).tolist()
        [[2, 4, 1, 0]]
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: Any = "lower_and_strip_punctuation",
        split: Any = "whitespace",
        ngrams: Any = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: Any = None,
        idf_weights: Any = None,
        sparse: bool = False,
        ragged: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        output_mode = OLD_MODES.get(output_mode, output_mode)
        _check(standardize, split, ngrams, output_mode, output_sequence_length)
        refuse_sparse(sparse, type(self).__name__)
        if ragged:
            raise ValueError(
                "`ragged=True` of TextVectorization cannot be used: graphkeras has no ragged tensors. Rows are padded "
                "with 0; pass ragged=False."
            )
        given = kwargs.pop("has_input_vocabulary", vocabulary is not None)
        size = kwargs.pop("vocabulary_size", None)
        super().__init__(name=name, **kwargs)
        self._max_tokens, self._standardize, self._split = max_tokens, standardize, split
        self._ngrams_arg = ngrams
        self._ngrams = tuple(range(1, ngrams + 1)) if isinstance(ngrams, int) else ngrams
        self._output_mode, self._output_sequence_length = output_mode, output_sequence_length
        self._ragged, self._encoding = ragged, encoding
        self._lookup_layer = StringLookup(
            max_tokens=max_tokens,
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            pad_to_max_tokens=pad_to_max_tokens,
            mask_token="",
            output_mode=output_mode,
            sparse=sparse,
            has_input_vocabulary=given,
            encoding=encoding,
            vocabulary_size=size,
        )
        self.supports_jit = False
        self._convert_input_args = False

    # -- words -------------------------------------------------------------------------------------------
    def words(self, inputs: Any) -> list[list[str]]:
        """The words (or n-grams) of each string."""
        texts = text_array(inputs, self._encoding)
        texts = self._standardized(texts)
        if self._split is None:
            rows = texts.reshape(1, -1) if texts.ndim == 0 else texts.reshape(texts.shape[0], -1)
            found = [[str(w) for w in row] for row in rows]
        else:
            if texts.ndim > 1:
                if texts.shape[-1] != 1:
                    raise ValueError(
                        "When using `TextVectorization` to tokenize strings, the input rank must be 1 or the last "
                        f"shape dimension must be 1. Received: inputs.shape={texts.shape} with rank={texts.ndim}"
                    )
                texts = texts[..., 0]
            found = self._split_texts(texts.reshape(-1))
        if self._ngrams is None:
            return found
        return [[" ".join(row[i : i + n]) for n in self._ngrams for i in range(len(row) - n + 1)] for row in found]

    def _standardized(self, texts: np.ndarray) -> np.ndarray:
        if self._standardize is None:
            return texts
        if callable(self._standardize):
            return text_array(self._standardize(texts.astype(str)), self._encoding)
        flat = texts.reshape(-1).tolist()
        if self._standardize.startswith("lower"):
            flat = [s.lower() for s in flat]
        if self._standardize.endswith("strip_punctuation"):
            flat = [s.translate(_NO_PUNCTUATION) for s in flat]
        result = np.empty(len(flat), dtype=object)
        result[:] = flat
        return result.reshape(texts.shape)

    def _split_texts(self, texts: np.ndarray) -> list[list[str]]:
        if self._split == "whitespace":
            return [s.split() for s in texts]
        if self._split == "character":
            return [list(s) for s in texts]
        return [
            [w.decode(self._encoding) if isinstance(w, bytes) else str(w) for w in row] for row in self._split(texts)
        ]

    # -- the vocabulary ----------------------------------------------------------------------------------
    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Learn the vocabulary from strings: a list or array of them, or an iterable of batches of which the first
        `steps` are taken.

        Words are ordered by falling frequency, those of the same frequency in reverse alphabetical order.
        """
        self.reset_state()
        for batch in batches(data, steps):
            self.update_state(batch)
        self.finalize_state()

    def update_state(self, data: Any) -> None:
        """Count the words of a batch of strings."""
        if self._lookup_layer._has_input_vocabulary:
            raise ValueError(
                f"Cannot adapt layer '{self.name}' after setting a static vocabulary via `vocabulary` argument or "
                "`set_vocabulary()` method."
            )
        self._lookup_layer.count_documents(self.words(data))

    def finalize_state(self) -> None:
        self._lookup_layer.finalize_state()

    def reset_state(self) -> None:
        self._lookup_layer.reset_state()

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """The words in the order of their indices; without padding and unknown words if so asked."""
        return self._lookup_layer.get_vocabulary(include_special_tokens)

    def vocabulary_size(self) -> int:
        """Number of indices, with padding and unknown words."""
        return self._lookup_layer.vocabulary_size()

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Use a vocabulary instead of learning one: see `StringLookup.set_vocabulary`."""
        self._lookup_layer.set_vocabulary(vocabulary, idf_weights=idf_weights)

    # -- use ---------------------------------------------------------------------------------------------
    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if any_symbolic_tensors((inputs,)):
            return super().__call__(inputs, *args, **kwargs)
        return self.call(inputs)  # plain Python on plain data

    def call(self, inputs: Any) -> Any:
        if isinstance(inputs, Operators):
            raise ValueError(
                f"Layer {self.name} (TextVectorization) works on strings, which a compiled model cannot hold. Apply it "
                "to the data before fit() or predict()."
            )
        rows = self.words(inputs)
        scalar = np.ndim(np.asarray(inputs, dtype=object)) == 0
        result = self._sequences(rows) if self._output_mode == "int" else self._bags(rows)
        return result[0] if scalar else result

    def _sequences(self, rows: list[list[str]]) -> Any:
        length = self._output_sequence_length
        if length is None:
            length = max((len(r) for r in rows), default=0)
        found = np.zeros((len(rows), length), dtype="int64")
        for i, row in enumerate(rows):
            for j, word in enumerate(row[:length]):
                found[i, j] = self._lookup_layer._index_of(word)
        return ops.convert_to_tensor(found, dtype="int64")

    def _bags(self, rows: list[list[str]]) -> Any:
        lookup = self._lookup_layer
        lookup._ensure_known_vocab_size()
        length = max((len(r) for r in rows), default=0)
        indices = np.full((len(rows), length), -1, dtype="int64")  # counts nowhere
        for i, row in enumerate(rows):
            indices[i, : len(row)] = [lookup._index_of(w) for w in row]
        return lookup._encoded(ops.convert_to_tensor(indices, dtype="int64"))

    # -- shapes, config, files ---------------------------------------------------------------------------
    @property
    def compute_dtype(self) -> str:
        return "string"

    @property
    def variable_dtype(self) -> str:  # type: ignore[override]
        return "string"

    def build(self, input_shape: Any = None) -> None:
        """Nothing depends on the input."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self._output_mode == "int":
            return (input_shape[0], self._output_sequence_length)
        return self._lookup_layer.compute_output_shape((input_shape[0], None))

    def compute_output_spec(self, inputs: Any) -> Any:
        dtype = "int64" if self._output_mode == "int" else gk_config.floatx()
        return KerasTensor(self.compute_output_shape(inputs.shape), dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        lookup = self._lookup_layer
        return {
            **super().get_config(),
            "max_tokens": lookup.max_tokens,
            "standardize": self._standardize,
            "split": self._split,
            "ngrams": self._ngrams_arg,
            "output_mode": self._output_mode,
            "output_sequence_length": self._output_sequence_length,
            "pad_to_max_tokens": lookup.pad_to_max_tokens,
            "sparse": lookup.sparse,
            "ragged": self._ragged,
            "vocabulary": lookup.input_vocabulary,
            "idf_weights": lookup.input_idf_weights,
            "encoding": self._encoding,
            "vocabulary_size": self.vocabulary_size(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        config = dict(config)
        for name in ("standardize", "split"):
            if isinstance(config.get(name), dict):
                config[name] = deserialize_keras_object(config[name], custom_objects=custom_objects)
        if isinstance(config.get("ngrams"), list):
            config["ngrams"] = tuple(config["ngrams"])
        return cls(**config)

    def save_own_variables(self, store: Any) -> None:
        self._lookup_layer.save_own_variables(store)

    def load_own_variables(self, store: Any) -> None:
        self._lookup_layer.load_own_variables(store)

    def save_assets(self, dir_path: str) -> None:
        self._lookup_layer.save_assets(dir_path)

    def load_assets(self, dir_path: str) -> None:
        self._lookup_layer.load_assets(dir_path)


def _check(standardize: Any, split: Any, ngrams: Any, output_mode: str, length: Any) -> None:
    for name, value, known in (("standardize", standardize, STANDARDIZE), ("split", split, SPLIT)):
        if value is not None and not callable(value) and value not in known:
            raise ValueError(
                f"Unknown value for `{name}` of TextVectorization. Expected one of {known}, None or a function. "
                f"Received: {name}={value}"
            )
    if output_mode not in (*MODES, "tf_idf"):
        raise ValueError(
            f"Unknown value for `output_mode` of TextVectorization. Expected one of {(*MODES, 'tf_idf')}. "
            f"Received: output_mode={output_mode}"
        )
    ints = isinstance(ngrams, tuple) and all(isinstance(n, int) for n in ngrams)
    if not (ngrams is None or isinstance(ngrams, int) or ints):
        raise ValueError(f"`ngrams` must be None, an integer, or a tuple of integers. Received: ngrams={ngrams}")
    if output_mode == "int" and not (length is None or isinstance(length, int)):
        raise ValueError(
            "`output_sequence_length` must be either None or an integer when `output_mode` is 'int'. "
            f"Received: output_sequence_length={length}"
        )
    if output_mode != "int" and length is not None:
        raise ValueError(
            "`output_sequence_length` must not be set if `output_mode` is not 'int'. "
            f"Received output_sequence_length={length}."
        )
