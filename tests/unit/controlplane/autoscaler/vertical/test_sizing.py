"""When a pod is resized, and to what."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.autoscaler.vertical.recommendation import MEBIBYTE, Range
from controlplane.autoscaler.vertical.sizing import LIVED_S, SizeRefusedError, size, within_limit_ranges
from flotilla.api.vertical_options import VerticalOptions, read_vertical_options

OPTIONS = VerticalOptions(mode="InPlace")


def _pod(*containers: tuple[str, dict[str, str], dict[str, str]], sidecar: bool = False) -> dict[str, Any]:
    made = [{"name": name, "resources": {"requests": low, "limits": high}} for name, low, high in containers]
    for each in made:
        each["resources"] = {part: amounts for part, amounts in each["resources"].items() if amounts}  # type: ignore[attr-defined]
    spec: dict[str, Any] = {"containers": made[:1] if sidecar else made}
    if sidecar:
        spec["initContainers"] = [{**made[1], "restartPolicy": "Always"}]
    return {"metadata": {"name": "a"}, "spec": spec}


def _cpu(lower: int, target: int, upper: int) -> dict[str, dict[str, Range]]:
    return {"web": {"cpu": Range(lower, target, upper, target)}}


def _resources(spec: Any, index: int = 0) -> Any:
    return spec["containers"][index]["resources"]


@pytest.mark.parametrize(
    ("range_", "age_s", "due"),
    [
        ((50, 100, 200), 0.0, False),
        ((101, 300, 900), 0.0, True),
        ((10, 50, 99), 0.0, True),
        ((50, 109, 200), LIVED_S, False),
        ((50, 110, 200), LIVED_S, True),
        ((50, 90, 200), LIVED_S, True),
        ((50, 150, 200), LIVED_S - 1, False),
    ],
)
def test_when_a_change_is_due(range_: tuple[int, int, int], age_s: float, due: bool) -> None:
    """Outside of the bounds at once; within them after half a day, if the target is a tenth off."""
    pod = _pod(("web", {"cpu": "100m"}, {}))
    assert (size(pod, _cpu(*range_), OPTIONS, age_s=age_s) is not None) == due


def test_the_ratio_of_limits_is_kept() -> None:
    """A limit of twice the request stays twice the request; a Guaranteed pod stays Guaranteed."""
    change = size(_pod(("web", {"cpu": "100m"}, {"cpu": "200m"})), _cpu(200, 333, 900), OPTIONS, age_s=0.0)
    assert change is not None
    assert _resources(change.spec) == {"requests": {"cpu": "333m"}, "limits": {"cpu": "666m"}}
    assert change.grows
    assert change.text == "web cpu 100m to 333m (limit 200m to 666m)"
    same = {"cpu": "100m", "memory": "64Mi"}
    change = size(_pod(("web", same, same)), _cpu(200, 333, 900), OPTIONS, age_s=0.0)
    assert change is not None
    assert _resources(change.spec)["limits"] == {"cpu": "333m", "memory": "64Mi"}


def test_requests_alone_stay_below_limits() -> None:
    """With limits left as they are a request grows up to its limit, and no further change is due then."""
    options = VerticalOptions(mode="InPlace", limits_too=False)
    change = size(_pod(("web", {"cpu": "100m"}, {"cpu": "200m"})), _cpu(300, 400, 900), options, age_s=0.0)
    assert change is not None
    assert _resources(change.spec) == {"requests": {"cpu": "200m"}, "limits": {"cpu": "200m"}}
    there = _pod(("web", {"cpu": "200m"}, {"cpu": "200m"}))
    assert size(there, _cpu(300, 400, 900), options, age_s=LIVED_S) is None


def test_the_class_of_a_pod_is_never_changed() -> None:
    """A pod without requests can't be given any while it runs, and is told what to do."""
    with pytest.raises(SizeRefusedError, match=r"QoS class.*from BestEffort to Burstable.*requests in the template"):
        size(_pod(("web", {}, {})), _cpu(20, 30, 40), OPTIONS, age_s=0.0)
    burstable = _pod(("web", {"memory": "64Mi"}, {}))
    change = size(burstable, _cpu(20, 30, 40), OPTIONS, age_s=0.0)
    assert change is not None
    assert _resources(change.spec) == {"requests": {"memory": "64Mi", "cpu": "30m"}}


def test_a_pod_grows_into_what_its_node_has_left() -> None:
    """Half of what is wanted is there: half of it is asked for; nothing there is refused; shrinking needs no room."""
    pod = _pod(("web", {"cpu": "100m"}, {"cpu": "200m"}))
    change = size(pod, _cpu(300, 500, 900), OPTIONS, age_s=0.0, room={"cpu": 200, "memory": 0})
    assert change is not None
    assert _resources(change.spec) == {"requests": {"cpu": "300m"}, "limits": {"cpu": "600m"}}
    with pytest.raises(SizeRefusedError, match=r"nothing left.*vertical-max"):
        size(pod, _cpu(300, 500, 900), OPTIONS, age_s=0.0, room={"cpu": -5, "memory": 0})
    smaller = size(pod, _cpu(20, 50, 60), OPTIONS, age_s=0.0, room={"cpu": -5, "memory": 0})
    assert smaller is not None
    assert not smaller.grows


def test_a_kill_soon_after_the_start_is_due_within_the_bounds() -> None:
    """Who ran out of memory gets more although its request is within the bounds; others don't."""
    pod = _pod(("web", {"memory": "64Mi"}, {"memory": "64Mi"}))
    ranges = {"web": {"memory": Range(10 * MEBIBYTE, 164 * MEBIBYTE, 900 * MEBIBYTE, 164 * MEBIBYTE)}}
    assert size(pod, ranges, OPTIONS, age_s=5.0) is None
    change = size(pod, ranges, OPTIONS, age_s=5.0, killed={"web"})
    assert change is not None
    assert _resources(change.spec) == {"requests": {"memory": "164Mi"}, "limits": {"memory": "164Mi"}}


def test_sidecars_and_others_each_have_their_own() -> None:
    """A sidecar is sized like any container; one that nothing is said about is left alone."""
    pod = _pod(("web", {"cpu": "100m"}, {}), ("log", {"cpu": "100m"}, {}), sidecar=True)
    ranges = {"log": {"cpu": Range(200, 300, 400, 300)}}
    change = size(pod, ranges, OPTIONS, age_s=0.0)
    assert change is not None
    assert change.spec["containers"] == pod["spec"]["containers"]
    assert change.spec["initContainers"][0]["resources"] == {"requests": {"cpu": "300m"}}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"type": "Container", "max": {"cpu": "400m"}}, 200),
        ({"type": "Container", "min": {"cpu": "600m"}}, 600),
        ({"type": "Pod", "max": {"cpu": "100m"}}, 500),
        ({"type": "Container", "max": {"memory": "1Mi"}}, 500),
    ],
)
def test_limit_ranges_are_kept(item: dict[str, Any], expected: int) -> None:
    """The scaled limit stays below a namespace's maximum, the request above its minimum."""
    container = {"resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}}
    found = within_limit_ranges(container, "cpu", Range(300, 500, 900, 500), [item], limits_too=True)
    assert found.target == expected


def test_options_are_read() -> None:
    """Every annotation means what its documentation says; a container's own bounds go before the workload's."""
    options, faults = read_vertical_options(
        {
            "metadata": {
                "annotations": {
                    "flotilla.dev/vertical": "InPlace",
                    "flotilla.dev/vertical-resources": "cpu",
                    "flotilla.dev/vertical-min": "cpu=50m,memory=64Mi",
                    "flotilla.dev/vertical-max": "cpu=2",
                    "flotilla.dev/vertical-controlled-values": "RequestsOnly",
                    "vertical.flotilla.dev/web": "min.cpu=100m,max.memory=1Gi",
                    "vertical.flotilla.dev/log": "Off",
                    "flotilla.dev/saturation-aware": "true",
                }
            }
        }
    )
    assert not faults
    assert (options.mode, options.resources, options.limits_too, options.saturation_aware) == (
        "InPlace",
        ("cpu",),
        False,
        True,
    )
    assert options.bounds_of("web").least == {"cpu": 100, "memory": 64 * MEBIBYTE}
    assert options.bounds_of("web").most == {"cpu": 2000, "memory": 1024 * MEBIBYTE}
    assert options.bounds_of("log").off
    assert options.bounds_of("other").most == {"cpu": 2000}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("flotilla.dev/vertical", "Auto", "Off, Recommend or InPlace"),
        ("flotilla.dev/vertical-resources", "cpu,disk", "cpu, memory or both"),
        ("flotilla.dev/vertical-min", "50m", "like cpu=50m,memory=64Mi"),
        ("flotilla.dev/vertical-max", "cpu=much", "is no quantity"),
        ("flotilla.dev/vertical-max", "cpu=0", "greater than 0"),
        ("flotilla.dev/vertical-min", "cpu=3", "the least cpu is above the most"),
        ("flotilla.dev/vertical-controlled-values", "All", "RequestsAndLimits or RequestsOnly"),
        ("vertical.flotilla.dev/web", "cpu=1", "like min.cpu=50m"),
        ("vertical.flotilla.dev/web", "min.cpu=3", "the least cpu is above the most"),
    ],
)
def test_options_that_cannot_be_read_say_what_is_expected(name: str, value: str, expected: str) -> None:
    """The fault names the annotation, its value and the remedy."""
    annotations = {"flotilla.dev/vertical": "InPlace", "flotilla.dev/vertical-max": "cpu=2", name: value}
    _, faults = read_vertical_options({"metadata": {"annotations": annotations}})
    (fault,) = faults
    assert fault[:2] == (name, value)
    assert expected in fault[2]
