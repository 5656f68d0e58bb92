"""What Flotilla knows about each kind: defaults, validation, warnings, table columns and selectable fields.

One module a kind, each ending in the functions that its row in :mod:`flotilla.api.resources` is made of. All of them
are pure; defaulting and preparation edit the object that they are given and nothing else.
"""
