"""Batches of a PyDataset fetched by threads or processes while the model trains."""

from __future__ import annotations

import multiprocessing
import pickle
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

_worker_dataset: Any = None


def _set_worker_dataset(dataset: Any) -> None:
    global _worker_dataset
    _worker_dataset = dataset


def _fetch(index: int) -> Any:
    assert _worker_dataset is not None
    return _worker_dataset[index]


def prefetch(dataset: Any, indices: Iterable[int], workers: int, processes: bool, ahead: int) -> Iterator[Any]:
    """Batches in order of `indices`, at most `ahead` of them in flight."""
    source = iter(indices)
    if processes:
        pool = _process_pool(dataset, workers)
        if pool is not None:
            yield from _in_order(pool, _fetch, source, ahead)
            return
        warnings.warn(
            f"{type(dataset).__name__} cannot be sent to other processes (its class must be importable and its content "
            "picklable): batches are fetched by threads instead.",
            stacklevel=2,
        )
    pool = ThreadPoolExecutor(workers, thread_name_prefix="PyDataset")
    yield from _in_order(pool, dataset.__getitem__, source, ahead)


def _process_pool(dataset: Any, workers: int) -> Executor | None:
    """A pool of processes that hold the data set; None if it cannot be sent there."""
    # "spawn": a forked child of a process with threads can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_set_worker_dataset, initargs=(dataset,))
    try:
        pool.submit(_answer).result()
    except (BrokenProcessPool, pickle.PicklingError, AttributeError, TypeError):
        pool.shutdown(wait=False, cancel_futures=True)
        return None
    return pool


def _answer() -> bool:
    """Shows that the process has started and has the data set."""
    return _worker_dataset is not None


def _in_order(pool: Executor, fetch: Any, indices: Iterator[int], ahead: int) -> Iterator[Any]:
    pending: deque[Future[Any]] = deque()
    try:
        for index in indices:
            pending.append(pool.submit(fetch, index))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
