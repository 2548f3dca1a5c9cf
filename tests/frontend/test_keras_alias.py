"""`install_as_keras` in a process of its own: `import keras` is graphkeras."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, "GRAPHKERAS_TARGET": "interpret"},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_way_to_import():
    out = run(
        """
        import graphkeras
        graphkeras.install_as_keras()
        graphkeras.install_as_keras()  # twice does no harm
        import numpy as np
        import keras
        import keras.layers as L
        from keras import Sequential, ops
        from keras.models import Model, load_model
        from keras.optimizers.schedules import CosineDecay
        import keras.saving

        assert L is graphkeras.layers and L.Dense is graphkeras.layers.Dense
        assert graphkeras.layers.__spec__.name == "graphkeras.layers" == L.__name__
        assert Model is graphkeras.Model and CosineDecay is graphkeras.optimizers.schedules.CosineDecay
        assert keras.__version__.startswith("3.") and keras.version() == keras.__version__
        assert "graphkeras" in keras.Sequential.__module__
        try:
            import keras.nothing_like_this
        except ModuleNotFoundError as error:
            print(error)
        model = keras.Sequential([keras.Input((3,)), L.Dense(2)])
        model.compile("sgd", "mse")
        print(len(model.fit(np.ones((8, 3)), np.ones((8, 2)), epochs=2, verbose=0).epoch))
        """
    )
    assert "keras.nothing_like_this" in out and out.strip().endswith("2")


def test_a_keras_that_is_there_already_is_refused():
    out = run(
        """
        import sys, types
        sys.modules["keras"] = types.ModuleType("keras")
        import graphkeras
        try:
            graphkeras.install_as_keras()
        except RuntimeError as error:
            print(error)
        """
    )
    assert "before anything imports keras" in out and "top of the program" in out


def test_nothing_happens_unasked():
    assert "False" in run("import graphkeras, sys; graphkeras.layers; print('keras' in sys.modules)")
