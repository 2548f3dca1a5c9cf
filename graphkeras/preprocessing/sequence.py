"""Sequences of unequal length."""

from graphkeras.utils.sequence_utils import pad_sequences

__all__ = ["pad_sequences"]
