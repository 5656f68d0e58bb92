"""What reconcilers may do to objects: the write side of the API without HTTP.

The API server's operations implement it, so that a controller's write passes the same defaulting, validation,
generation and deletion rules as a user's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource


class Objects(Protocol):
    """Writes raise :class:`flotilla.api.errors.ApiError`; objects returned carry their new resourceVersion."""

    async def create(self, resource: Resource, obj: KubeObject, *, manager: str) -> KubeObject:
        """Store a new object. AlreadyExists, Invalid."""

    async def update(self, resource: Resource, obj: KubeObject, *, manager: str, subresource: str = "") -> KubeObject:
        """Replace at metadata.resourceVersion; ``subresource="status"`` replaces only status. Conflict, NotFound."""

    async def mutate(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Callable[[KubeObject], KubeObject | None],
        *,
        manager: str,
        subresource: str = "",
    ) -> KubeObject | None:
        """Read the newest state, let ``change`` edit a private copy, write it; repeats on Conflict.

        ``change`` returns None to leave the object alone. Returns what is stored then; None if the object is gone.
        """

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        manager: str,
        uid: str = "",
        grace_period_s: int | None = None,
        propagation: str = "Background",
    ) -> None:
        """Delete as the API does (grace, finalizers, propagation). NotFound; Conflict if ``uid`` is another's."""
