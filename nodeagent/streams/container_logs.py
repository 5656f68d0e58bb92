"""A container's log for a stream: which run is meant, and its bytes as they come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from flotilla.api.errors import bad_request, not_found
from flotilla.api.objects import decode, name_of
from nodeagent.container_starter import ContainerStarter
from nodeagent.lifecycle import containers_of, init_containers, will_restart
from nodeagent.logs import LogOptions, options_of, read_log
from nodeagent.pod_worker import PodWorker
from nodeagent.worker import Worker
from protos import dispatcher_pb2 as pb


class PodRunLogs:
    """The logs of one container of a pod that is on this node."""

    def __init__(self, worker: PodWorker, container: str, starter: ContainerStarter) -> None:
        self._worker, self._container, self._starter = worker, container, starter

    def file(self, attempt: int) -> Path:
        return self._starter.log_path(self._worker.pod, self._container, attempt)

    def ended(self, attempt: int) -> bool:
        run = self._worker.state.container(self._container).record.run
        return run is None or run.attempt > attempt or run.ended is not None

    def after(self, attempt: int) -> int | None:
        run = self._worker.state.container(self._container).record.run
        return attempt + 1 if run is not None and run.attempt > attempt and run.process is not None else None

    def last(self) -> bool:
        worker = self._worker
        if worker.over or worker.state.stop is not None or worker.state.sandbox_phase != "ready":
            return True
        pod, state = worker.pod, worker.state.container(self._container)
        container = next(each for each in containers_of(pod) if each["name"] == self._container)
        init = container in init_containers(pod)
        return not state.starting and not will_restart(pod, container, state, init=init)

    @contextlib.contextmanager
    def changes(self) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self._worker.listeners.add(event)
        try:
            yield event
        finally:
            self._worker.listeners.discard(event)


def select_run(worker: PodWorker, container: str, *, previous: bool) -> int:
    """The run whose log is asked for. Raises ApiError in the kubelet's words."""
    pod = worker.pod
    spec = next((each for each in containers_of(pod) if each["name"] == container), None)
    if spec is None:
        raise bad_request(f"container {container} is not valid for pod {name_of(pod)}")
    record = worker.state.container(container).record
    run, last = record.run, record.last
    begun = run is not None and (run.started_unix_s > 0 or run.ended is not None)
    if previous:
        again = will_restart(pod, spec, worker.state.container(container), init=spec in init_containers(pod))
        if run is not None and run.ended is not None and again:
            return run.attempt
        if last is not None:
            return last.attempt
        raise bad_request(f'previous terminated container "{container}" in pod "{name_of(pod)}" not found')
    if run is not None and begun:
        return run.attempt
    if last is not None:
        return last.attempt
    reason = record.waiting.reason if record.waiting is not None else "ContainerCreating"
    raise bad_request(f'container "{container}" in pod "{name_of(pod)}" is waiting to start: {reason}')


class LogReader:
    """Reads logs of this node's containers."""

    def __init__(self, worker: Worker, starter: ContainerStarter) -> None:
        self._worker, self._starter = worker, starter

    def frames(self, target: pb.LogsTarget) -> AsyncIterator[bytes]:
        """The log that is asked for; ends with it. ApiError at once where there is none, OSError on the way."""
        logs, attempt, options = self._prepare(target)
        return read_log(logs, attempt, options)

    def _prepare(self, target: pb.LogsTarget) -> tuple[PodRunLogs, int, LogOptions]:
        try:
            asked = decode(target.options_json) if target.options_json else {}
            options = options_of(asked, datetime.now(UTC))
        except (msgspec.DecodeError, ValueError, TypeError, AttributeError) as error:
            raise bad_request(f"log options: {error}") from error
        worker = self._worker.pod(target.pod_uid)
        if worker is None:
            raise not_found("pods", target.pod)
        attempt = select_run(worker, target.container, previous=bool(asked.get("previous")))
        if asked.get("previous"):
            options = LogOptions(False, options.timestamps, options.since, options.tail_lines, options.limit_bytes)
        return PodRunLogs(worker, target.container, self._starter), attempt, options
