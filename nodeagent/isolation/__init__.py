"""Users of a pod's own: which pods have them, the ids they get, their namespaces, and mounts that translate between.

The sandbox chooses (``choice``), the network makes the namespaces (``namespaces``) because a pod's network has to
belong to its users, and whatever a container is started with is mounted through ``mounts``.
"""
