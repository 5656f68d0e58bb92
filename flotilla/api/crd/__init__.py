"""Kinds that users define: from a CustomResourceDefinition to the row that serves its objects.

:mod:`definitions` judges the definition itself, :mod:`structural` reads its schema into a tree, :mod:`shaping` prunes
and completes objects by that tree, :mod:`validation` and :mod:`rules` judge them, :mod:`rows` puts it all together.
Source: Kubernetes' ``apiextensions-apiserver``.
"""
