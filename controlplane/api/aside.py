"""Long computations beside the event loop, in one thread: one, for they all compete with the loop for the processor.

What runs there must not read what the loop changes meanwhile: objects are its own, schemas never change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

MUCH_BYTES = 64 * 1024
"""JSON from which on walking a value in Python is long: tens of milliseconds where its parts are small."""

_T = TypeVar("_T")
_thread = ThreadPoolExecutor(1, thread_name_prefix="aside")


async def aside(compute: Callable[[], _T]) -> _T:
    """What ``compute`` returns or raises. A caller that is cancelled leaves it running to its end."""
    return await asyncio.get_running_loop().run_in_executor(_thread, compute)
