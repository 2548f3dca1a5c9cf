"""What a dynamic program is, and the list of all of them.

A program is a function of tensors whose Python code looks at values, with inputs that lead it different ways. The same
checks run on all (`checks.py`): compiled as eager, gradients as finite differences, nothing compiled or traced at a
second visit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Case:
    """A program made for one dtype.

    Args:
        fn: function of the arguments that returns tensors, in any structure.
        inputs: arguments of several calls, one after the other: arrays, and Python values as they are.
        wrt: positions of the arguments to differentiate for.
        variables: state that the program reads and assigns; those that are trainable get gradients, too.
        differentiable: whether derivatives of the float results mean anything.
        values: Python uses values other than for decisions, so it runs in every call.
    """

    fn: Callable[..., Any]
    inputs: Sequence[tuple[Any, ...]]
    wrt: tuple[int, ...] = (0,)
    variables: Sequence[Any] = ()
    differentiable: bool = True
    values: bool = False


@dataclass
class Training:
    """A model with a step of its own.

    Args:
        model: makes the compiled model, `run_eagerly` or not.
        x, y: data.
        batch_size, epochs: for `fit`.
    """

    model: Callable[[bool], Any]
    x: np.ndarray
    y: np.ndarray
    batch_size: int = 8
    epochs: int = 2


@dataclass(frozen=True)
class Program:
    name: str
    decides: str  # what the values decide, from the docstring
    make: Callable[..., Any]


FUNCTIONS: list[Program] = []
MODELS: list[Program] = []


def program(make: Callable[[str], Case]) -> Callable[[str], Case]:
    """Add a program: a function from a dtype to a `Case`."""
    FUNCTIONS.append(Program(make.__name__, (make.__doc__ or "").splitlines()[0].rstrip("."), make))
    return make


def training(make: Callable[[], Training]) -> Callable[[], Training]:
    """Add a model: a function that gives a `Training`."""
    MODELS.append(Program(make.__name__, (make.__doc__ or "").splitlines()[0].rstrip("."), make))
    return make


def draw(dtype: str, *shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Normal numbers."""
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(dtype)


def load() -> tuple[list[Program], list[Program]]:
    """All programs."""
    from tests.programs import decoding, depth, recursion, sequences, solvers, structured, training_steps  # noqa: F401

    return FUNCTIONS, MODELS
