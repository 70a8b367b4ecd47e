"""Compute each key once, whoever asks first; others wait for it."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import Any, Callable, Dict, Hashable


class Once:
    """Safe to use from several threads. What ``compute`` raises is raised to all that waited, and
    is not kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: Dict[Hashable, concurrent.futures.Future] = {}

    def __call__(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        with self._lock:
            future = self._futures.get(key)
            mine = future is None
            if mine:
                future = self._futures[key] = concurrent.futures.Future()
        if mine:
            try:
                future.set_result(compute())
            except BaseException as error:
                with self._lock:
                    del self._futures[key]
                future.set_exception(error)
                raise
        return future.result()
