"""What can go wrong between a pod's spec and a running container."""

from __future__ import annotations


class ContainerConfigError(Exception):
    """The container cannot be set up as its spec asks; shown as the reason ``CreateContainerConfigError``.

    Trying again helps only after something else has changed.
    """
