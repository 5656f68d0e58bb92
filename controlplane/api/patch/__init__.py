"""The patch types of the API, as pure functions from a document and a patch to a new document.

:mod:`json_patch` is RFC 6902, :mod:`merge_patch` RFC 7386, :mod:`strategic` Kubernetes' own, which knows from the
schema which lists are merged by key. None of them changes its arguments.
"""
