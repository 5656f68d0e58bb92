"""A server that can be restarted while its clients and its etcd go on."""

from __future__ import annotations

import signal

from tests.integration.kubectl.lab import DEADLINE_S, Server, until


class RestartingServer(Server):
    """``flotilla server`` and its etcd."""

    def restart(self) -> None:
        """End the server as a user would, and wait until a new one is ready on the same port."""
        old = self._processes.pop()
        old.send_signal(signal.SIGTERM)
        assert old.wait(DEADLINE_S) == 0
        self._spawn("server", self._server())
        until("the API is ready again", self._is_ready)
