"""Assigns pods to nodes: a matrix of nodes, filters that explain, scores, and binds in flight.

Before it: controllers make pods without a node. After it: the dispatcher sends the bound pod to its node.
"""
