"""Estimators around models: classifier, regressor, transformer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.metadata_routing import MetadataRequest
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

from graphkeras.models.cloning import clone_model
from graphkeras.models.model import Model

_ARGUMENTS = """
    Args:
        model: compiled model, or a function `(X, y, **model_kwargs)` that returns one. A model is cloned before it is
            fitted, unless `warm_start`.
        warm_start: go on training the same model in each `fit`.
        model_kwargs: arguments for the function.
        fit_kwargs: arguments for `model.fit`; those of `fit` itself come first.

    After `fit`: `model_` is the trained model, `history_` its History.
"""


def _validated(estimator: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        from sklearn.utils.validation import validate_data
    except ImportError:  # scikit-learn before 1.6
        return estimator._validate_data(*args, **kwargs)
    return validate_data(estimator, *args, **kwargs)


class TargetReshaper(TransformerMixin, BaseEstimator):
    """Targets of one axis as a column, and back."""

    def fit(self, y: np.ndarray) -> TargetReshaper:
        self.ndim_ = y.ndim
        return self

    def transform(self, y: np.ndarray) -> np.ndarray:
        return y.reshape(-1, 1) if y.ndim == 1 else y

    def inverse_transform(self, y: np.ndarray) -> np.ndarray:
        check_is_fitted(self)
        return np.squeeze(y, axis=1) if self.ndim_ == 1 and y.ndim == 2 else y


class SKLBase(BaseEstimator):
    """What the three wrappers share."""

    def __init__(
        self,
        model: Model | Callable[..., Model],
        warm_start: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        fit_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.warm_start = warm_start
        self.model_kwargs = model_kwargs
        self.fit_kwargs = fit_kwargs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = True
        return tags

    def __sklearn_clone__(self) -> Any:
        model = copy.deepcopy(self.model) if isinstance(self.model, Model) else self.model
        return type(self)(model, self.warm_start, copy.copy(self.model_kwargs), copy.copy(self.fit_kwargs))

    @property
    def epoch_(self) -> Any:
        """The epochs of the last `fit`."""
        history = getattr(self, "history_", None)
        return 0 if history is None else len(history.epoch)

    def set_fit_request(self, **kwargs: Any) -> Any:
        """Say which metadata `fit` takes; see scikit-learn's metadata routing, which has to be enabled."""
        if not sklearn.get_config().get("enable_metadata_routing", False):
            raise RuntimeError(
                "This method is only available when metadata routing is enabled. You can enable it using "
                "sklearn.set_config(enable_metadata_routing=True)."
            )
        self._metadata_request = MetadataRequest(owner=type(self).__name__)
        for param, alias in kwargs.items():
            self._metadata_request.fit.add_request(param=param, alias=alias)
        return self

    def fit(self, X: Any, y: Any, **kwargs: Any) -> Any:
        """Train the model on rows `X` and targets `y`; `kwargs` go to `model.fit`."""
        X, y = _validated(self, X, y, multi_output=True)
        y = self._process_target(y, reset=True)
        model = self._model_for(X, y)
        if not model.compiled or not model.loss or not model.optimizer:
            raise RuntimeError(
                f"Given model '{model.name}' needs to be compiled, and have a loss and an optimizer: call "
                "`model.compile(optimizer, loss)` before."
            )
        self.history_ = model.fit(X, y, **{**(self.fit_kwargs or {}), **kwargs})
        self.model_ = model
        return self

    def _model_for(self, X: Any, y: Any) -> Any:
        if self.warm_start and hasattr(self, "model_"):
            return self.model_
        if not isinstance(self.model, Model):
            return self.model(X=X, y=y, **(self.model_kwargs or {}))
        if self.warm_start:
            return self.model
        model = clone_model(self.model)
        if self.model.compiled and not model.compiled:
            model.compile_from_config(self.model.get_compile_config())
        return model

    def predict(self, X: Any) -> np.ndarray:
        """Predictions for rows `X`, in the form of the targets."""
        return self._reverse_process_target(self._outputs(X))

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self.model_.predict(_validated(self, X, reset=False), verbose=0)

    def _process_target(self, y: Any, reset: bool = False) -> Any:
        if type_of_target(y) == "unknown":
            raise ValueError(f"Unknown label type for data: {y!r}")
        if reset:
            self._target_encoder = TargetReshaper().fit(y)
        return self._target_encoder.transform(y)

    def _reverse_process_target(self, y: Any) -> Any:
        return self._target_encoder.inverse_transform(y)


class SKLearnClassifier(ClassifierMixin, SKLBase):
    """A model as a classifier: `fit` gives it one-hot targets, `predict` returns class labels.

    Example:

    >>> import numpy as np, graphkeras as keras
    >>> from graphkeras.wrappers import SKLearnClassifier
    >>> def build(X, y):
    ...     outputs = keras.layers.Dense(y.shape[1], activation="softmax")
    ...     model = keras.Sequential([keras.Input((X.shape[1],)), outputs])
    ...     model.compile(keras.optimizers.Adam(0.1), "categorical_crossentropy")
    ...     return model
    >>> X = np.array([[0.0], [1.0]] * 20)
    >>> classifier = SKLearnClassifier(build, fit_kwargs={"epochs": 60, "verbose": 0})
    >>> classifier.fit(X, np.array(["a", "b"] * 20)).predict(X[:2]).tolist()
    ['a', 'b']
    """

    __doc__ += _ARGUMENTS

    def decision_function(self, X: Any) -> np.ndarray:
        """The outputs of the model."""
        return self._outputs(X)

    def _process_target(self, y: Any, reset: bool = False) -> Any:
        kind = type_of_target(y)
        if kind not in ("binary", "multiclass"):
            raise ValueError(f"Only binary and multiclass target types are supported. Target type: {kind}")
        if reset:
            self._target_encoder = make_pipeline(TargetReshaper(), OneHotEncoder(sparse_output=False)).fit(y)
            self.classes_ = np.unique(y)
            if len(self.classes_) == 1:
                raise ValueError("Classifier can't train when only one class is present.")
        return self._target_encoder.transform(y)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags


class SKLearnRegressor(RegressorMixin, SKLBase):
    """A model as a regressor."""

    __doc__ += _ARGUMENTS

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags


class SKLearnTransformer(TransformerMixin, SKLBase):
    """A model as a transformer: `transform` returns its outputs."""

    __doc__ += _ARGUMENTS

    def transform(self, X: Any) -> np.ndarray:
        """The outputs of the model."""
        return self._outputs(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags
