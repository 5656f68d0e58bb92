"""A pod's volumes as directories on the node, and the environment of its containers.

:mod:`nodeagent.volumes.volumes` makes, updates and removes them, :mod:`nodeagent.volumes.persistent` finds those that
outlive pods and :mod:`nodeagent.volumes.removal` deletes their data in the end. :mod:`nodeagent.volumes.binds` is where
a container's start takes them from, or what is at a :mod:`nodeagent.volumes.subpath` in them. What a ConfigMap, Secret,
projected or downward API volume holds is computed by :mod:`nodeagent.volumes.payload` and written by
:mod:`nodeagent.volumes.atomic`. :mod:`nodeagent.volumes.environment` resolves ``env`` and ``envFrom`` from the same
objects.
"""
