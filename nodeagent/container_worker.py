"""One container of one pod while its pod's worker runs: starting, hearing of its end, watching, stopping.

It changes the container's state and wakes the pod's loop; what to do next is never decided here.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Protocol

from flotilla.api.objects import KubeObject, uid_of
from flotilla.clocks import steady_unix_s
from nodeagent.cgroups.layout import CgroupError
from nodeagent.cgroups.oom import OomWatch
from nodeagent.cgroups.stats import oom_kills
from nodeagent.container_starter import Order, StartRefusedError
from nodeagent.ends import UNKNOWN_END, ended_of, last_words
from nodeagent.handlers import Target
from nodeagent.images.image import Image
from nodeagent.isolation.processes import outlives_its_first
from nodeagent.lifecycle import StopContainer, containers_of, resources_of
from nodeagent.monitor import Monitor
from nodeagent.pod_context import PodContext
from nodeagent.pod_events import pod_event
from nodeagent.pod_state import ContainerRecord, ContainerState, Ended, PodState, ResizeProblem, Run, Waiting
from nodeagent.pod_status import BACKING_OFF, START_ERROR
from nodeagent.restarts import failures_after, pull_delay_s, restart_delay_s, retry_delay_s
from nodeagent.runtime.exits import ContainerExit
from nodeagent.runtime.oci import ContainerRuntimeError
from nodeagent.runtime.processes import ProcessIdentity

logger = logging.getLogger(__name__)

MINIMUM_GRACE_AFTER_HOOK_S = 2.0
RESIZE_RETRY_S = 3.0
_PULL_REASONS = (*BACKING_OFF, "ErrImageNeverPull", "InvalidImageName")


class PodHandle(Protocol):
    """What a container sees of its pod's worker."""

    @property
    def pod(self) -> KubeObject: ...

    @property
    def state(self) -> PodState: ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]: ...

    def changed(self) -> None:
        """Let the pod's loop look at its state again."""

    def save(self) -> None:
        """Write the pod's record now."""


def signal_number(name: str) -> int:
    """The number of a stop signal as images name it: ``SIGQUIT``, ``QUIT`` or ``3``; SIGTERM if it is unknown."""
    if name.isdecimal():
        return int(name)
    base, _, offset = name.upper().removeprefix("SIG").partition("+")
    if base == "RTMIN":
        return int(signal.SIGRTMIN) + int(offset or 0)
    found: int = getattr(signal, f"SIG{base}", signal.SIGTERM)
    return int(found)


class ContainerWorker:
    """The container ``name`` of the pod behind ``handle``."""

    def __init__(self, name: str, handle: PodHandle, context: PodContext) -> None:
        self._name, self._handle, self._context = name, handle, context
        self._stirred = asyncio.Event()
        self._oom_watch: OomWatch | None = None
        self._monitoring: asyncio.Task[None] | None = None
        self._pulling: asyncio.Future[tuple[Image, dict[str, Image]]] | None = None
        self._abandoned = False

    @property
    def _state(self) -> ContainerState:
        return self._handle.state.container(self._name)

    @property
    def _container(self) -> KubeObject:
        return next(each for each in containers_of(self._handle.pod) if each["name"] == self._name)

    # ---- up ----

    async def start(self) -> None:
        """Begin the next run; the outcome is in the state."""
        state = self._state
        before = state.record
        sandbox = self._handle.state.sandbox
        assert sandbox is not None
        order = Order(self._handle.pod, self._container, before.next_attempt, sandbox)
        try:
            order = replace(order, joins=self._joined())
            image, volume_images = await self._pull(order)
            order = replace(order, volume_images=volume_images)
            run = await self._context.starter.start(order, image, announce=self._announce)
        except StartRefusedError as refusal:
            self._refused(refusal, before)
        except asyncio.CancelledError:
            if not self._abandoned:
                raise
        except Exception as error:
            logger.exception("container_start_failed", extra={"pod_uid": uid_of(order.pod), "container": self._name})
            self._refused(StartRefusedError("CreateContainerError", str(error), run=state.record.run), before)
        else:
            state.record = replace(state.record, run=run)
            self._attend(run)
        finally:
            state.starting = False
            self._handle.changed()
        if before.run is not None:
            self._handle.spawn(self._replaced(before.run))

    def _joined(self) -> ProcessIdentity | None:
        """The process whose view of processes an ephemeral container shares. StartRefusedError if it does not run."""
        target = self._container.get("targetContainerName")
        if not target:
            return None
        run = self._handle.state.container(target).record.run
        if run is None or not run.live or run.process is None:
            raise StartRefusedError("CreateContainerError", f'target container "{target}" is not running')
        return run.process

    async def _pull(self, order: Order) -> tuple[Image, dict[str, Image]]:
        """The container's image, and those of its volumes by the volumes' names."""
        self._pulling = asyncio.ensure_future(self._pull_all(order))
        try:
            return await self._pulling
        finally:
            self._pulling = None

    async def _pull_all(self, order: Order) -> tuple[Image, dict[str, Image]]:
        starter = self._context.starter
        image = await starter.pull(order.pod, order.container)
        return image, await starter.pull_volumes(order.pod, order.container)

    def abandon(self) -> None:
        """The pod is to end: do not wait for an image that nobody needs any more."""
        if self._pulling is not None:
            self._abandoned = True
            self._pulling.cancel()

    def _announce(self, run: Run) -> None:
        self._state.record = self._state.record.with_run(run)
        self._handle.save()

    def _refused(self, refusal: StartRefusedError, before: ContainerRecord) -> None:
        """A failed start of the program is an end of the run; anything before leaves the container waiting."""
        state, now = self._state, steady_unix_s()
        if refusal.reason == "RunContainerError" and refusal.run is not None:
            ended = Ended(refusal.exit_code, START_ERROR, time.time(), refusal.message)
            self._note_end(ended, ran_s=0.0)
        else:
            refusals = before.refusals + 1
            delay_s = pull_delay_s(refusals) if refusal.reason in _PULL_REASONS else retry_delay_s(refusals)
            waiting = Waiting(refusal.reason, refusal.message, now)
            state.record = replace(before, refusals=refusals, retry_at_unix_s=now + delay_s, waiting=waiting)
            if refusal.reason in BACKING_OFF:
                self.event("Normal", "BackOff", f'Back-off pulling image "{self._container["image"]}"')
                self.event("Warning", "Failed", "Error: ImagePullBackOff")
        if refusal.run is not None:
            self._handle.spawn(self._remove(refusal.run.id, force=True))

    def _attend(self, run: Run, *, already_started: bool = False) -> None:
        """Wait for the run's end and watch its health."""
        assert run.conmon is not None
        self._stirred.clear()
        self._state.unhealthy = ""
        self._context.containers.exits.expect(run.id, run.conmon, self._exited)
        self._handle.spawn(self._context.containers.supervise(uid_of(self._handle.pod), run.conmon))
        self._watch_memory(run)
        sandbox = self._handle.state.sandbox
        target = Target(self._container, run.id, sandbox.ip if sandbox else "", self._context.containers)
        self._monitoring = self._handle.spawn(Monitor(target, self, already_started).run())

    def _watch_memory(self, run: Run) -> None:
        layout = self._context.cgroups.layout
        if layout.version == 1:
            path = self._context.cgroups.container_path(uid_of(self._handle.pod), run.id)
            try:
                self._oom_watch = OomWatch(layout, path, self._oom_killed)
            except OSError as error:
                logger.debug("oom_watch_unavailable", extra={"container": run.id, "error": str(error)})

    def adopt(self) -> None:
        """Go on with what an earlier agent left: a live run is only watched, a half-made one is cleared away."""
        record = self._state.record
        run = record.run
        if record.last is not None:
            self._handle.spawn(self._replaced(record.last))
        if run is None or run.ended is not None:
            return
        if run.live:
            self._attend(run, already_started=record.started)
            return
        found = self._context.containers.running(run.id)
        if found is not None:
            run = replace(run, process=found.process, conmon=found.conmon, started_unix_s=time.time())
            self._state.record = replace(record, run=run)
            self._attend(run)
        else:
            self._state.record = replace(record, run=record.last, last=None)
            self._handle.spawn(self._remove(run.id, force=True))

    async def resize(self) -> None:
        """Put the container's changed requests and limits into force; the outcome is in the state."""
        state, pod, container = self._state, self._handle.pod, self._container
        run = state.record.run
        assert run is not None
        problem = self._context.resize_problem(pod)
        if problem is None:
            try:
                await self._context.blocking(self._context.cgroups.resize, uid_of(pod), pod["spec"], run.id, container)
            except CgroupError as error:
                problem = ResizeProblem("Error", str(error))
        if problem is None and state.record.run is not None and state.record.run.id == run.id:
            state.record = replace(state.record, run=replace(state.record.run, resources=resources_of(container)))
            self.event("Normal", "ResizeCompleted", f"Resized container {self._name} in place")
        elif problem is not None and problem != state.resize_problem:
            self.event("Warning", f"Resize{problem.reason}", problem.message)
        state.resizing, state.resize_problem = False, problem
        state.resize_retry_at_unix_s = steady_unix_s() + RESIZE_RETRY_S if problem is not None else 0.0
        self._handle.changed()

    # ---- reports of the monitor ----

    def started(self) -> None:
        self._state.record = replace(self._state.record, started=True)
        self._handle.changed()

    def readiness(self, ready: bool) -> None:
        if self._state.record.ready != ready:
            self._state.record = replace(self._state.record, ready=ready)
            self._handle.changed()

    def unhealthy(self, message: str) -> None:
        self._state.unhealthy = message
        self._handle.changed()

    def event(self, type_: str, reason: str, message: str) -> None:
        self._context.events(pod_event(self._handle.pod, type_, reason, message, container=self._name))

    # ---- down ----

    def _oom_killed(self) -> None:
        """A process was killed for memory, the first one lives: end the container, as ``memory.oom.group`` would."""
        run = self._state.record.run
        if run is not None and run.live:
            self._context.cgroups.kill(self._context.cgroups.container_path(uid_of(self._handle.pod), run.id))

    def _exited(self, exit_: ContainerExit) -> None:
        run = self._state.record.run
        assert run is not None
        self._unattend()
        path = self._context.cgroups.container_path(uid_of(self._handle.pod), run.id)
        if exit_.code is None or outlives_its_first(self._handle.pod, self._container):
            self._context.cgroups.kill(path)
        starter, pod = self._context.starter, self._handle.pod
        message = last_words(
            self._container,
            termination=starter.termination_file(pod, self._name, run.attempt),
            log=starter.log_path(pod, self._name, run.attempt),
            failed=exit_.code != 0,
        )
        kills = oom_kills(self._context.cgroups.layout, path)
        # What an end says of its moment may be from another time of day than the start; a process's age is not.
        ran_s = run.process.age_s if run.process is not None else 0.0
        self._note_end(ended_of(exit_, oom_kills=kills, message=message), ran_s=ran_s)
        self._handle.changed()

    def _note_end(self, ended: Ended, *, ran_s: float) -> None:
        state = self._state
        failures = failures_after(state.record.failures, ran_s=ran_s)
        delay_s = restart_delay_s(failures)
        since_end_s = min(max(0.0, time.time() - ended.finished_unix_s), delay_s, ran_s)
        retry_at_unix_s = steady_unix_s() + delay_s - since_end_s
        state.record = state.record.with_ended(ended, failures=failures, retry_at_unix_s=retry_at_unix_s)
        state.unhealthy = ""
        self._stirred.set()
        if delay_s and self._handle.state.stop is None:
            self.event("Warning", "BackOff", f"Back-off restarting failed container {self._name} in pod")

    def _unattend(self) -> None:
        if self._oom_watch is not None:
            self._oom_watch.close()
            self._oom_watch = None
        if self._monitoring is not None:
            self._monitoring.cancel()
            self._monitoring = None

    def detach(self) -> None:
        """Stop watching without touching the container: the agent ends."""
        self._unattend()
        run = self._state.record.run
        if run is not None:
            self._context.containers.exits.forget(run.id)

    def hurry(self) -> None:
        """The deadline of a stop under way has changed."""
        self._stirred.set()

    async def stop(self, action: StopContainer) -> None:
        """End the run: out of the services, preStop, the stop signal, and SIGKILL to all of it at the deadline."""
        state = self._state
        run = state.record.run
        assert run is not None
        began = steady_unix_s()
        self.event("Normal", "Killing", action.message)
        try:
            if self._monitoring is not None:
                self._monitoring.cancel()
            await self._leave_services(action)
            await self._pre_stop(run, began + action.grace_s)
            if run.process is not None and action.grace_s > 0:
                run.process.send(signal_number(run.stop_signal or "TERM"))
            await self._until_ended(began, action)
        finally:
            state.stopping = False
            self._handle.changed()

    async def _leave_services(self, action: StopContainer) -> None:
        sandbox = self._handle.state.sandbox
        if action.pod_stops and action.grace_s > 0 and sandbox is not None and sandbox.netns:
            await self._context.out_of_service(sandbox.ip)

    async def _pre_stop(self, run: Run, deadline_unix_s: float) -> None:
        hook = (self._container.get("lifecycle") or {}).get("preStop")
        remaining_s = deadline_unix_s - steady_unix_s()
        if not hook or remaining_s <= 0:
            return
        sandbox = self._handle.state.sandbox
        target = Target(self._container, run.id, sandbox.ip if sandbox else "", self._context.containers)
        try:
            async with asyncio.timeout(remaining_s):
                outcome = await target.perform(hook, timeout_s=remaining_s)
        except TimeoutError:
            self.event("Warning", "FailedPreStopHook", "PreStopHook did not end within the grace period")
            return
        if not outcome.success:
            self.event("Warning", "FailedPreStopHook", f"PreStopHook failed: {outcome.message}")

    async def _until_ended(self, began_unix_s: float, action: StopContainer) -> None:
        hooked = "preStop" in (self._container.get("lifecycle") or {})
        extra_s = MINIMUM_GRACE_AFTER_HOOK_S if hooked and action.grace_s > 0 else 0.0
        latest = max(began_unix_s + action.grace_s, steady_unix_s() + extra_s)
        while self._state.live:
            stop = self._handle.state.stop
            deadline = min(latest, stop.deadline_unix_s + extra_s) if stop is not None and action.pod_stops else latest
            remaining_s = deadline - steady_unix_s()
            if remaining_s <= 0:
                break
            self._stirred.clear()
            try:
                async with asyncio.timeout(remaining_s):
                    await self._stirred.wait()
            except TimeoutError:
                break
        await self._kill()

    async def _kill(self) -> None:
        run = self._state.record.run
        if run is None or not self._state.live:
            return
        path = self._context.cgroups.container_path(uid_of(self._handle.pod), run.id)
        await self._context.blocking(self._context.cgroups.kill, path)
        while self._state.live:
            self._stirred.clear()
            await self._stirred.wait()

    async def _remove(self, run_id: str, *, force: bool = False) -> None:
        try:
            await self._context.starter.remove(run_id, force=force)
        except (ContainerRuntimeError, OSError) as error:
            logger.warning("container_not_removed", extra={"container": run_id, "error": str(error)})

    async def _replaced(self, run: Run) -> None:
        """Another run has taken this one's place: its container goes, its log stays until the next replacement."""
        await self._remove(run.id, force=_end_unseen(run))
        starter = self._context.starter
        await self._context.blocking(starter.discard_files, self._handle.pod, self._name, run.attempt - 1)

    async def discard(self) -> None:
        """Remove the container and writable layer of a run that has ended, before another takes its place."""
        run = self._state.record.run
        if run is not None and run.ended is not None:
            await self._remove(run.id, force=_end_unseen(run))

    async def clear(self) -> None:
        """Remove what is left of the newest run and the one before it. Raises ContainerRuntimeError, OSError."""
        record = self._state.record
        for run in (record.run, record.last):
            if run is not None:
                await self._context.starter.remove(run.id, force=_end_unseen(run))


def _end_unseen(run: Run) -> bool:
    """Whether nobody has seen the run's processes end, so that some may still have to be killed."""
    return run.ended is None or run.ended.reason == UNKNOWN_END
