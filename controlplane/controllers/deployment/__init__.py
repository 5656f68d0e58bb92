"""Deployments roll ReplicaSets over: the plan is pure, the controller carries it out."""
