"""50000 film reviews as numbers of words, each for or against the film."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from graphkeras.datasets.common import Split, fetch, limit_words, load_npz, ragged, renumber, shorter_than, shuffled

_HASH = "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"


def load_data(
    path: str = "imdb.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int = 3,
    **kwargs: Any,
) -> Split:
    """((x_train, y_train), (x_test, y_test)): x arrays of lists of numbers, y 0 or 1. Frequent words have low numbers.

    Args:
        path: name in the cache.
        num_words: keep words whose number is lower; others become `oov_char`.
        skip_top: as many of the most frequent words become `oov_char`.
        maxlen: leave out reviews of this length or longer.
        seed: of the shuffling.
        start_char: number at the start of each review.
        oov_char: number of the words that are left out; None drops them.
        index_from: the lowest number of a word.
    """
    num_words = kwargs.pop("nb_words", num_words)
    if kwargs:
        raise TypeError(f"Unrecognized keyword arguments: {kwargs}.")
    file = load_npz(fetch(path, "imdb.npz", _HASH))
    parts = []
    for kind in ("train", "test"):
        x, labels = shuffled(seed, file[f"x_{kind}"], file[f"y_{kind}"])
        x = renumber(x, start_char, index_from)
        parts.append(shorter_than(maxlen, x, labels) if maxlen else (x, labels))
    (train, y_train), (test, y_test) = parts
    xs = limit_words(train + test, num_words, skip_top, oov_char)
    return (ragged(xs[: len(train)]), np.asarray(y_train)), (ragged(xs[len(train) :]), np.asarray(y_test))


def get_word_index(path: str = "imdb_word_index.json") -> dict[str, int]:
    """Word -> its number, without the shift by `index_from`."""
    with open(fetch(path, "imdb_word_index.json", "bfafd718b763782e994055a2d397834f")) as file:
        return json.load(file)
