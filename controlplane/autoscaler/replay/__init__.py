"""Recorded load run through the autoscaler's own code: what it would have done, second by second.

:mod:`workload` stands for the pods, their load and what nodes measure of it; :mod:`simulation` lets time pass and
carries out what :func:`controlplane.autoscaler.evaluation.evaluate` decides. Nothing of the decision is written twice.
"""

from __future__ import annotations

from controlplane.autoscaler.replay.simulation import FLOTILLA, KUBERNETES, Loop, Replay, Step, replay
from controlplane.autoscaler.replay.workload import PodModel

__all__ = ["FLOTILLA", "KUBERNETES", "Loop", "PodModel", "Replay", "Step", "replay"]
