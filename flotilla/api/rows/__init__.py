"""The rows of the registry, one module a group; each lists its own as ``ROWS`` in the order of discovery.

:mod:`flotilla.api.resources` gathers them. A new group is a new module here and one entry there.
"""
