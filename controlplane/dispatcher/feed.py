"""Cache events, routed to the sessions that they concern.

One subscription serves all sessions. Pods and volumes whose data one node has go to their node's session, ConfigMaps,
Secrets, claims and volumes to those whose pods need them, Services, EndpointSlices and what routing needs of Nodes to
all. When the cache lost history, every session starts over with a complete set.
"""

from __future__ import annotations

import logging
from contextlib import closing

from controlplane.autoscaler.figures import Figures
from controlplane.dispatcher.assignments import ASSIGNABLE, REFERENCED, ObjectKey, Renderer, key_of, routing_view
from controlplane.dispatcher.session import Session
from controlplane.dispatcher.sessions import Sessions
from controlplane.store.cache import Cache, CacheEvent, ResetError, SlowSubscriberError
from flotilla.api.resources import NODES, PERSISTENT_VOLUMES, PODS
from flotilla.api.storage import local_node

logger = logging.getLogger(__name__)


class Feed:
    """Follows the cache for ``sessions``."""

    def __init__(self, cache: Cache, sessions: Sessions[Session], *, figures: Figures, renderer: Renderer) -> None:
        self._cache = cache
        self._sessions = sessions
        self._figures = figures
        self._renderer = renderer

    async def run(self) -> None:
        """Route until cancelled."""
        await self._cache.wait_synced()
        while True:
            with closing(self._cache.subscribe(ASSIGNABLE)) as subscription:
                for session in self._sessions.all():
                    session.downlink.restart()
                try:
                    while True:
                        for event in await subscription.batch():
                            self._route(event)
                except (ResetError, SlowSubscriberError) as error:
                    logger.warning("assignments_start_over", extra={"why": str(error)})

    def _route(self, event: CacheEvent) -> None:
        resource, key = event.entry.resource, key_of(event.entry)
        if event.type == "DELETED":
            self._renderer.forget(key)
        if resource is PODS:
            self._route_pod(event, key)
        elif resource in REFERENCED:
            for session in self._sessions.all():
                if session.downlink.assignments.needs(key):
                    session.downlink.mark(key)
            if resource is PERSISTENT_VOLUMES:
                self._mark_on(local_node(event.entry.obj), key)
        else:
            if resource is NODES:
                self._tell_node(event)
            if resource is not NODES or _routing_changed(event):
                for session in self._sessions.all():
                    session.downlink.mark(key)

    def _route_pod(self, event: CacheEvent, key: ObjectKey) -> None:
        self._mark_on(event.entry.node, key)

    def _mark_on(self, node: str, key: ObjectKey) -> None:
        session = self._sessions.of(node)
        if session is not None:
            session.downlink.mark(key)

    def _tell_node(self, event: CacheEvent) -> None:
        session = self._sessions.of(event.entry.name)
        if event.type == "DELETED":
            self._sessions.forget(event.entry.name)
            self._figures.forget(event.entry.name)
            if session is not None:
                session.node_deleted()
        elif session is not None:
            session.downlink.confirm_if_awaited()


def _routing_changed(event: CacheEvent) -> bool:
    if event.type != "MODIFIED" or event.previous is None:
        return True
    return routing_view(event.entry.obj) != routing_view(event.previous.obj)
