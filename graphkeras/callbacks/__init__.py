"""Callbacks: code that runs around epochs and batches."""

from graphkeras.callbacks.backup_and_restore import BackupAndRestore
from graphkeras.callbacks.callback import Callback
from graphkeras.callbacks.callback_list import CallbackList
from graphkeras.callbacks.early_stopping import EarlyStopping
from graphkeras.callbacks.history import History
from graphkeras.callbacks.learning_rates import LearningRateScheduler, ReduceLROnPlateau
from graphkeras.callbacks.model_checkpoint import ModelCheckpoint
from graphkeras.callbacks.monitor_callback import MonitorCallback
from graphkeras.callbacks.progbar_logger import ProgbarLogger
from graphkeras.callbacks.small_callbacks import CSVLogger, LambdaCallback, RemoteMonitor, TerminateOnNaN
from graphkeras.callbacks.swap_ema_weights import SwapEMAWeights
from graphkeras.callbacks.tensorboard import TensorBoard

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "MonitorCallback",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]
