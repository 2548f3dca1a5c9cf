"""Text classification with an Embedding and an LSTM over sentences of different lengths (padding is masked).

Made data: short reviews from a small grammar. "not" turns the next word round, so counting words is not enough.
"""

import os

import numpy as np

import graphkeras as keras
from graphkeras import layers

QUICK = "GRAPHKERAS_QUICK" in os.environ
GOOD = ["good", "great", "fine", "lovely", "superb"]
BAD = ["bad", "poor", "awful", "dull", "terrible"]
OTHER = ["the", "film", "was", "a", "plot", "and", "acting", "music", "story", "it", "with"]
VOCABULARY = {word: i for i, word in enumerate(["not", *GOOD, *BAD, *OTHER], start=1)}  # 0 is padding
LENGTH = 16


def make_reviews(count, seed):
    """Sentences as padded rows of word numbers, and whether they praise."""
    rng = np.random.default_rng(seed)
    tokens, labels = np.zeros((count, LENGTH), "int32"), np.zeros(count, "int32")
    for i in range(count):
        words: list[str] = []
        score = 0
        while len(words) < rng.integers(4, LENGTH - 3) or not score:
            kind = rng.random()
            if kind < 0.6 or len(words) > LENGTH - 3:
                words.append(rng.choice(OTHER))
            else:
                good, negated = rng.random() < 0.5, rng.random() < 0.5
                words += (["not"] if negated else []) + [rng.choice(GOOD if good else BAD)]
                score += 1 if good != negated else -1
            if len(words) >= LENGTH - 1:
                words, score = [], 0
        tokens[i, : len(words)] = [VOCABULARY[w] for w in words]
        labels[i] = score > 0
    return tokens, labels


def main():
    keras.utils.set_random_seed(7)
    x, y = make_reviews(2000 if QUICK else 4000, seed=0)
    x_test, y_test = make_reviews(1000, seed=1)
    model = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            layers.Embedding(len(VOCABULARY) + 1, 16, mask_zero=True),
            layers.Bidirectional(layers.LSTM(24)),
            layers.Dropout(0.2),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(5e-3), "binary_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=5 if QUICK else 10, batch_size=32, validation_data=(x_test, y_test), verbose=2)
    accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
    review = np.zeros((1, LENGTH), "int32")
    review[0, :6] = [VOCABULARY[w] for w in ("the", "film", "was", "not", "bad", "and")]
    print(f"test accuracy {accuracy:.3f}; 'the film was not bad and': {model.predict(review, verbose=0)[0, 0]:.2f}")
    longer = np.concatenate([x_test, np.zeros((len(x_test), 5), "int32")], axis=1)
    np.testing.assert_allclose(model.predict(longer, verbose=0), model.predict(x_test, verbose=0), atol=1e-5)
    assert accuracy > (0.7 if QUICK else 0.9)
    return accuracy


if __name__ == "__main__":
    main()
