"""What is done about an image store whose content is not what it was.

Blobs are named after their digests, so damage to one is found when it is read: a document that is damaged makes its
image one that is not present, a layer that is damaged can't be unpacked and is dropped. Either way fetching the image
once more puts it right, because only what is missing is fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from nodeagent.images.layers import UnpackError
from nodeagent.images.layout import MissingBlobError

T = TypeVar("T")


def twice_if_damaged(fetch: Callable[[int], T]) -> T:
    """``fetch(1)``, or ``fetch(2)`` if the first found a blob collected since, or damaged and so dropped."""
    try:
        return fetch(1)
    except (MissingBlobError, UnpackError) as error:
        if isinstance(error, UnpackError) and not error.damaged:
            raise
        return fetch(2)


def never_pulled(reference: object, *, allowed: bool, problem: str) -> str:
    """Why an image that is not to be pulled can't be used; ``problem`` is what is damaged of it, if it is there."""
    if problem:
        return f'Container image "{reference}" is damaged ({problem}) and not to be pulled; load or pull it again'
    missing = "not present" if allowed else "present, but not for this pod's secrets,"
    return f'Container image "{reference}" is {missing} with pull policy of Never'
