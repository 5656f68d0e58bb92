"""Keeps the status of PodDisruptionBudgets, which evictions are decided by."""
