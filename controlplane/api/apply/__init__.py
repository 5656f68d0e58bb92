"""Server-side apply: who has set which field, merging by that, and the conflicts that follow.

:mod:`field_set` is the algebra of sets of fields, :mod:`typed` walks objects by their schema, :mod:`managers` reads and
writes ``managedFields``, :mod:`ownership` records plain writes and :mod:`merge` applies a configuration. The semantics
are those of ``sigs.k8s.io/structured-merge-diff``.
"""
