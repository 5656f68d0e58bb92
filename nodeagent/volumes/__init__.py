"""A pod's volumes as directories on the node, and the environment of its containers.

:mod:`nodeagent.volumes.volumes` makes, updates and removes them; what a ConfigMap, Secret, projected or downward API
volume holds is computed by :mod:`nodeagent.volumes.payload` and written by :mod:`nodeagent.volumes.atomic`.
:mod:`nodeagent.volumes.environment` resolves ``env`` and ``envFrom`` from the same objects.
"""
