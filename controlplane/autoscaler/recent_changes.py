"""What an autoscaler did lately, noted on its object, so that the next leader keeps to its policies too.

Kubernetes forgets it with the process: whoever takes over grants each policy's period anew. The note is an annotation,
written together with the status that tells of a change and gone with the first status after the last period has passed.
Where a leader ended between a change and its note, the difference shows, and it is taken for a change of this moment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from controlplane.autoscaler.stabilization import Behavior, Change, History
from flotilla.api.objects import KubeObject, annotations_of, format_micro_time, parse_time

RECENT_CHANGES = "flotilla.dev/recent-changes"
MOST_NOTED = 50
_NOTE = re.compile(r"(\S+Z)([+-]\d{1,9})")


def with_note(
    autoscaler: KubeObject, history: History, behavior: Behavior, *, now: datetime, now_s: float
) -> KubeObject:
    """The autoscaler with its changes within the longest period of ``behavior``; ``now`` and ``now_s`` are one moment.

    Of very many the oldest are noted as one, at the time of the latest of them: the policies are kept all the more.
    """
    longest_s = max(policy.period_s for rules in (behavior.up, behavior.down) for policy in rules.policies)
    recent = [each for each in history.changes if each.at_s > now_s - longest_s]
    if len(recent) > MOST_NOTED:
        oldest, recent = recent[: -MOST_NOTED + 1], recent[-MOST_NOTED + 1 :]
        recent = [Change(oldest[-1].at_s, sum(each.delta for each in oldest)), *recent]
    annotations = {name: value for name, value in annotations_of(autoscaler).items() if name != RECENT_CHANGES}
    if recent:
        annotations[RECENT_CHANGES] = " ".join(_written(each, now=now, now_s=now_s) for each in recent)
    metadata = {name: value for name, value in autoscaler["metadata"].items() if name != "annotations"}
    return autoscaler | {"metadata": metadata | ({"annotations": annotations} if annotations else {})}


def recalled(autoscaler: Mapping[str, Any], replicas: int, *, now: datetime, now_s: float) -> History:
    """The history of an autoscaler that somebody else has looked after, if anybody; its target has ``replicas``.

    What is there counts as wanted, so that a whole window passes before anything is removed. A note that can't be read
    says nothing, and one from the future is of now.
    """
    changes = list(_read(annotations_of(autoscaler).get(RECENT_CHANGES, ""), now=now, now_s=now_s))
    noted = (autoscaler.get("status") or {}).get("desiredReplicas")
    if noted and noted != replicas:
        changes.append(Change(now_s, replicas - noted))
    return History(History.seeded(replicas, now_s=now_s).recommendations, tuple(changes))


def _written(change: Change, *, now: datetime, now_s: float) -> str:
    moment = now - timedelta(seconds=now_s - change.at_s)
    return f"{format_micro_time(moment)}{change.delta:+d}"


def _read(note: str, *, now: datetime, now_s: float) -> Sequence[Change]:
    found = []
    for each in note.split():
        match = _NOTE.fullmatch(each)
        if match is None:
            continue
        try:
            age_s = (now - parse_time(match[1])).total_seconds()
        except ValueError:
            continue
        found.append(Change(now_s - max(0.0, age_s), int(match[2])))
    return sorted(found, key=lambda change: change.at_s)
