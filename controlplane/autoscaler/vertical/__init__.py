"""Requests from use: what each container of a workload should request, and running pods resized to it.

:mod:`histogram` counts what was used, :mod:`history` is that for one container, :mod:`recommendation` makes a range of
it, :mod:`sizing` makes a pod's new resources of that.
"""
