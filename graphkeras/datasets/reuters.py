"""11228 newswires as numbers of words, on 46 topics."""

from __future__ import annotations

import json

import numpy as np

from graphkeras.datasets.common import Split, fetch, limit_words, load_npz, ragged, renumber, shorter_than, shuffled

_HASH = "d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916"
_TOPICS = (
    "cocoa grain veg-oil earn acq wheat copper housing money-supply coffee sugar trade reserves ship cotton carcass "
    "crude nat-gas cpi money-fx interest gnp meal-feed alum oilseed gold tin strategic-metal livestock retail ipi "
    "iron-steel rubber heat jobs lei bop zinc orange pet-chem dlr gas silver wpi hog lead"
)


def load_data(
    path: str = "reuters.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    test_split: float = 0.2,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int = 3,
) -> Split:
    """((x_train, y_train), (x_test, y_test)): x arrays of lists of numbers, y numbers of topics.

    Args:
        path: name in the cache.
        num_words, skip_top, maxlen, seed, start_char, oov_char, index_from: as in `imdb.load_data`.
        test_split: fraction for the second pair.
    """
    file = load_npz(fetch(path, "reuters.npz", _HASH))
    x, labels = shuffled(seed, file["x"], file["y"])
    xs = renumber(x, start_char, index_from)
    if maxlen:
        xs, labels = shorter_than(maxlen, xs, labels)
    xs = limit_words(xs, num_words, skip_top, oov_char)
    count = int(len(xs) * (1 - test_split))
    return (ragged(xs[:count]), np.array(labels[:count])), (ragged(xs[count:]), np.array(labels[count:]))


def get_word_index(path: str = "reuters_word_index.json") -> dict[str, int]:
    """Word -> its number, without the shift by `index_from`."""
    with open(fetch(path, "reuters_word_index.json", "4d44cc38712099c9e383dc6e5f11a921")) as file:
        return json.load(file)


def get_label_names() -> tuple[str, ...]:
    """The topics, in the order of the labels."""
    return tuple(_TOPICS.split())
