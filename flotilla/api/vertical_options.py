"""What a workload may ask for about the requests of its pods, as annotations of the workload.

``flotilla.dev/vertical``
    ``Recommend``: say what its containers should request; ``InPlace``: have running pods request it, too. ``Off`` is
    as without the annotation.
``flotilla.dev/vertical-resources``
    Which requests: ``cpu,memory`` (the default), ``cpu`` or ``memory``.
``flotilla.dev/vertical-min``, ``flotilla.dev/vertical-max``
    Bounds of a container's requests, such as ``cpu=50m,memory=64Mi``.
``flotilla.dev/vertical-controlled-values``
    ``RequestsAndLimits`` (the default) keeps the ratio of limit to request; ``RequestsOnly`` leaves limits as they are.
``vertical.flotilla.dev/CONTAINER``
    ``Off``, or bounds for one container, such as ``min.cpu=50m,max.memory=1Gi``, which go before the workload's.
``flotilla.dev/saturation-aware``
    ``true`` counts the time that a CPU limit kept containers from running as use.

Source: the words of ``VerticalPodAutoscaler`` in ``autoscaling.k8s.io/v1``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flotilla.api.annotation_reader import AnnotationReader, Fault, one_of
from flotilla.api.autoscaling_options import SATURATION_AWARE
from flotilla.api.objects import annotations_of
from flotilla.api.quantities import bytes_of, cpu_millis

MODE = "flotilla.dev/vertical"
RESOURCES = "flotilla.dev/vertical-resources"
MINIMUM = "flotilla.dev/vertical-min"
MAXIMUM = "flotilla.dev/vertical-max"
CONTROLLED_VALUES = "flotilla.dev/vertical-controlled-values"
CONTAINER_PREFIX = "vertical.flotilla.dev/"

OFF, RECOMMEND, IN_PLACE = "Off", "Recommend", "InPlace"
_RESOURCES = ("cpu", "memory")

Amounts = Mapping[str, int]
"""By resource: thousandths of a core, bytes."""


@dataclass(frozen=True, slots=True)
class ContainerBounds:
    """The least and the most that a container may request; ``off`` if its requests are left alone."""

    least: Amounts = field(default_factory=dict)
    most: Amounts = field(default_factory=dict)
    off: bool = False


@dataclass(frozen=True, slots=True)
class VerticalOptions:
    """The annotations of one workload."""

    mode: str = OFF
    resources: tuple[str, ...] = _RESOURCES
    bounds: ContainerBounds = ContainerBounds()
    limits_too: bool = True
    saturation_aware: bool = False
    containers: Mapping[str, ContainerBounds] = field(default_factory=dict)

    def bounds_of(self, container: str) -> ContainerBounds:
        """The bounds of one container, those of the workload where it has none of its own."""
        own = self.containers.get(container)
        if own is None:
            return self.bounds
        return ContainerBounds({**self.bounds.least, **own.least}, {**self.bounds.most, **own.most}, own.off)


def is_vertical(workload: Mapping[str, Any]) -> bool:
    """Whether the workload has asked for anything, be it wrongly."""
    return MODE in annotations_of(workload)


def read_vertical_options(workload: Mapping[str, Any]) -> tuple[VerticalOptions, list[Fault]]:
    """The options, and each faulty annotation with its value and what is expected.

    With a fault nothing is resized: a bound that can't be read might be the one that matters.
    """
    reader = AnnotationReader(annotations_of(workload))
    mode = reader.read(MODE, OFF, one_of(OFF, RECOMMEND, IN_PLACE))
    options = VerticalOptions(
        mode=mode,
        resources=reader.read(RESOURCES, _RESOURCES, _resources),
        bounds=ContainerBounds(reader.read(MINIMUM, {}, _amounts), reader.read(MAXIMUM, {}, _amounts)),
        limits_too=_controlled(reader),
        saturation_aware=reader.read(SATURATION_AWARE, "false", one_of("true", "false")) == "true",
        containers={
            name.removeprefix(CONTAINER_PREFIX): reader.read(name, ContainerBounds(), _container)
            for name in reader.annotations
            if name.startswith(CONTAINER_PREFIX)
        },
    )
    for name in (MINIMUM, *(CONTAINER_PREFIX + container for container in options.containers)):
        bounds = options.bounds if name == MINIMUM else options.bounds_of(name.removeprefix(CONTAINER_PREFIX))
        reversed_ = [each for each in bounds.least if bounds.least[each] > bounds.most.get(each, bounds.least[each])]
        if reversed_ and name in reader.annotations:
            reader.faults.append((name, reader.annotations[name], f"the least {reversed_[0]} is above the most"))
    return options, reader.faults


def _controlled(reader: AnnotationReader) -> bool:
    choice = one_of("RequestsAndLimits", "RequestsOnly")
    return reader.read(CONTROLLED_VALUES, "RequestsAndLimits", choice) == "RequestsAndLimits"


def _resources(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",")]
    if not set(names) <= set(_RESOURCES) or len(set(names)) != len(names):
        raise ValueError("must be cpu, memory or both with a comma between")
    return tuple(name for name in _RESOURCES if name in names)


def _amounts(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name not in _RESOURCES or name in found:
            raise ValueError("must be like cpu=50m,memory=64Mi")
        found[name] = _amount(name, value)
    return found


def _container(text: str) -> ContainerBounds:
    if text == OFF:
        return ContainerBounds(off=True)
    bounds: dict[str, dict[str, int]] = {"min": {}, "max": {}}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        side, _, resource = name.partition(".")
        if side not in bounds or resource not in _RESOURCES or resource in bounds[side]:
            raise ValueError("must be Off or like min.cpu=50m,max.memory=1Gi")
        bounds[side][resource] = _amount(resource, value)
    return ContainerBounds(bounds["min"], bounds["max"])


def _amount(resource: str, text: str) -> int:
    """ValueError."""
    amount = cpu_millis(text) if resource == "cpu" else bytes_of(text)
    if amount <= 0:
        raise ValueError(f"the amount of {resource} must be greater than 0")
    return amount
