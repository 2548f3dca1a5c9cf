"""Callbacks: code that runs around epochs and batches."""

from graphkeras.callbacks.callback import Callback
from graphkeras.callbacks.callback_list import CallbackList
from graphkeras.callbacks.history import History
from graphkeras.callbacks.progbar_logger import ProgbarLogger

__all__ = ["Callback", "CallbackList", "History", "ProgbarLogger"]
