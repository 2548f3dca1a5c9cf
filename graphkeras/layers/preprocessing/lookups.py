"""IntegerLookup and StringLookup."""

from __future__ import annotations

from typing import Any

from graphkeras.layers.preprocessing.index_lookup import IndexLookup


class IntegerLookup(IndexLookup):
    """Maps integers to indices of a vocabulary.

    Args:
        max_tokens: largest size of the vocabulary, with the indices for unknown integers.
        num_oov_indices: number of indices for unknown integers, which are spread over them; with 0 they are errors.
        mask_token: integer that maps to index 0 (in vectors: to nothing).
        oov_token: what stands for unknown integers in the vocabulary, and what `invert` gives for unknown indices.
        vocabulary: list of integers; None to learn it by `adapt`.
        vocabulary_dtype: "int64".
        idf_weights: with "tf_idf", a weight for each integer.
        invert: map indices to integers instead.
        output_mode: "int", or "one_hot", "multi_hot", "count", "tf_idf" for vectors of the vocabulary's size.
        sparse: must be False.
        pad_to_max_tokens: make the vectors `max_tokens` long.
        oov_method: how unknown integers are spread: "floormod" (by remainder) or "farmhash".
        salt: one or two ints that change the hash.

    Raises:
        ValueError: for arguments that do not go together, and a vocabulary with repetitions.

    Example:
        >>> from graphkeras import layers
        >>> layer = layers.IntegerLookup(vocabulary=[12, 36, 1138])
        >>> layer([[12, 1138, 7]]).tolist(), layer.get_vocabulary()
        ([[1, 3, 0]], [-1, 12, 36, 1138])
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: Any = None,
        oov_token: Any = -1,
        vocabulary: Any = None,
        vocabulary_dtype: str = "int64",
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        oov_method: str = "floormod",
        salt: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if vocabulary_dtype != "int64":
            raise ValueError(
                "Only `vocabulary_dtype='int64'` is supported at this time. "
                f"Received: vocabulary_dtype={vocabulary_dtype}"
            )
        super().__init__(
            max_tokens,
            num_oov_indices,
            mask_token,
            oov_token,
            vocabulary_dtype,
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            invert=invert,
            output_mode=output_mode,
            sparse=sparse,
            pad_to_max_tokens=pad_to_max_tokens,
            oov_method=oov_method,
            salt=salt,
            name=name,
            **kwargs,
        )


class StringLookup(IndexLookup):
    """Maps strings to indices of a vocabulary. Works on plain data (lists, arrays of strings), before `fit`.

    Args:
        max_tokens: largest size of the vocabulary, with the indices for unknown strings.
        num_oov_indices: number of indices for unknown strings, which are spread over them by a hash; with 0 they are
            errors.
        mask_token: string that maps to index 0 (in vectors: to nothing).
        oov_token: what stands for unknown strings in the vocabulary, and what `invert` gives for unknown indices.
        vocabulary: list of strings; None to learn it by `adapt`.
        idf_weights: with "tf_idf", a weight for each string.
        invert: map indices to strings instead; the result is an object array.
        output_mode: "int", or "one_hot", "multi_hot", "count", "tf_idf" for vectors of the vocabulary's size.
        pad_to_max_tokens: make the vectors `max_tokens` long.
        sparse: must be False.
        encoding: of bytes.
        salt: one or two ints that change the hash.

    Raises:
        ValueError: for arguments that do not go together, and a vocabulary with repetitions.

    Example:
        >>> from graphkeras import layers
        >>> layer = layers.StringLookup()
        >>> layer.adapt(["a", "b", "b", "c"])
        >>> layer.get_vocabulary(), layer([["b", "z"]]).tolist()
        (['[UNK]', 'b', 'c', 'a'], [[1, 0]])
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: Any = None,
        oov_token: Any = "[UNK]",
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        sparse: bool = False,
        encoding: str = "utf-8",
        name: str | None = None,
        salt: Any = None,
        **kwargs: Any,
    ) -> None:
        self.encoding = encoding
        super().__init__(
            max_tokens,
            num_oov_indices,
            mask_token,
            oov_token,
            "string",
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            invert=invert,
            output_mode=output_mode,
            sparse=sparse,
            pad_to_max_tokens=pad_to_max_tokens,
            name=name,
            salt=salt,
            **kwargs,
        )

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "encoding": self.encoding}
        del config["vocabulary_dtype"]
        return config
