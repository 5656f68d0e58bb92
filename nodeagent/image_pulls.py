"""Getting an image for a pod: with its pull secrets, and told as the kubelet tells it.

Each step is an event of the pod, because a pull is what a user most often waits for. Nothing said here or in a log
holds a credential.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from flotilla.api.objects import KubeObject, namespace_of
from nodeagent.images.auth import RegistryAuth, registry_auths
from nodeagent.images.image import Image, ImagePullError, PullTime
from nodeagent.images.store import PullPolicy
from nodeagent.lifecycle import containers_of
from nodeagent.pod_events import EventSink, pod_event
from nodeagent.volumes.payload import AssignedObjects

# An image that is there is there at once; what takes longer is being pulled.
PRESENT_WITHIN_S = 0.1
# Reasons to refuse without asking any registry, and those of their events.
_BEFORE_PULLING = {"InvalidImageName": "InspectFailed", "ErrImageNeverPull": "ErrImageNeverPull"}


def images_of(pod: KubeObject) -> set[str]:
    """The references of all images that the pod's containers and volumes need."""
    volumes = (volume.get("image") or {} for volume in pod["spec"].get("volumes") or ())
    named = [container["image"] for container in containers_of(pod)]
    return {*named, *(volume["reference"] for volume in volumes if volume.get("reference"))}


class Images(Protocol):
    """The node's images."""

    async def ensure(self, reference: str, *, policy: PullPolicy, auths: Sequence[RegistryAuth] = ()) -> Image: ...


class ImagePuller:
    """Gets images for the pods of one node."""

    def __init__(self, images: Images, objects: AssignedObjects, events: EventSink) -> None:
        self._images, self._objects, self._events = images, objects, events

    async def pull(self, pod: KubeObject, reference: str, *, policy: PullPolicy, container: str = "") -> Image:
        """The image, present on the node, for ``container`` or the pod as a whole. Raises ImagePullError."""

        def tell(type_: str, reason: str, message: str) -> None:
            self._events(pod_event(pod, type_, reason, message, container=container))

        auths, missing = self._auths(pod)

        def announce() -> None:
            if missing:
                what = f"Unable to retrieve some image pull secrets ({', '.join(missing)})"
                advice = "attempting to pull the image may not succeed."
                tell("Warning", "FailedToRetrieveImagePullSecret", f"{what}; {advice}")
            tell("Normal", "Pulling", f'Pulling image "{reference}"')

        getting = asyncio.ensure_future(self._images.ensure(reference, policy=policy, auths=auths))
        try:
            announced = not (await asyncio.wait((getting,), timeout=PRESENT_WITHIN_S))[0]
            if announced:
                announce()
            image = await getting
        except ImagePullError as error:
            if not announced and error.reason not in _BEFORE_PULLING:
                announce()
            _tell_failure(tell, reference, error)
            raise
        finally:
            getting.cancel()
        if image.pulled is None:
            tell(
                "Normal",
                "Pulled",
                f'Container image "{reference}" already present on machine and can be accessed by the pod',
            )
            return image
        if not announced:
            announce()
        tell("Normal", "Pulled", f'Successfully pulled image "{reference}" in {_spans(image.pulled)}. {_size(image)}')
        return image

    def _auths(self, pod: KubeObject) -> tuple[list[RegistryAuth], list[str]]:
        """The credentials of the pod's pull secrets in their order, and the names of those that are not there."""
        auths: list[RegistryAuth] = []
        missing: list[str] = []
        for reference in pod["spec"].get("imagePullSecrets") or ():
            name = reference.get("name") or ""
            secret = self._objects.secret(namespace_of(pod), name)
            if secret is None:
                missing.append(name)
            else:
                auths.extend(registry_auths(secret))
        return auths, missing


class _Tell(Protocol):
    def __call__(self, type_: str, reason: str, message: str) -> None: ...


def _tell_failure(tell: _Tell, reference: str, error: ImagePullError) -> None:
    before = _BEFORE_PULLING.get(error.reason)
    if before:
        tell("Warning", before, error.message)
    else:
        tell("Warning", "Failed", f'Failed to pull image "{reference}": {error.message}')
    tell("Warning", "Failed", f"Error: {error.reason}")


def _spans(taken: PullTime) -> str:
    return f"{_span(taken.pulling_s)} ({_span(taken.pulling_s + taken.waiting_s)} including waiting)"


def _span(seconds: float) -> str:
    """A span as Go prints it, cut to milliseconds: ``843ms``, ``1.234s``, ``2m3.5s``."""
    millis = int(seconds * 1000)
    if millis < 1000:
        return f"{millis}ms"
    minutes, rest_millis = divmod(millis, 60_000)
    rest = f"{rest_millis / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else "") + rest


def _size(image: Image) -> str:
    return f"Image size: {image.size_bytes} bytes."
