"""A container's environment from what has been assigned, its failures in the runtime's words."""

from __future__ import annotations

from dataclasses import dataclass

from flotilla.api.objects import KubeObject
from nodeagent.assigned import SERVICES, Assignments
from nodeagent.runtime.errors import ContainerConfigError
from nodeagent.volumes.environment import MissingReferenceError, container_environment
from nodeagent.volumes.fields import FieldError, NodeResources
from nodeagent.volumes.payload import VolumeError


@dataclass(frozen=True, slots=True)
class PodEnvironment:
    """Resolves ``env`` and ``envFrom``."""

    assignments: Assignments
    resources: NodeResources

    def __call__(self, pod: KubeObject, container: KubeObject) -> list[tuple[str, str]]:
        """Names and values in order. Raises ContainerConfigError."""
        services = self.assignments.all(SERVICES)
        try:
            return container_environment(pod, container, self.assignments, services=services, node=self.resources)
        except (MissingReferenceError, FieldError, VolumeError) as error:
            raise ContainerConfigError(str(error)) from error
