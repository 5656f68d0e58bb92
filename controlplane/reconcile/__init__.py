"""The machine that runs reconcilers: work queue, informer, controller, events. It knows no business rules.

Before it: :mod:`controlplane.store.cache` tells what changed. After it: :mod:`controlplane.controllers` and
:mod:`controlplane.scheduler` decide what to do about it. A change becomes a key, the queue hands each key to one
worker at a time, the reconciler reads everything anew and writes the difference.
"""
