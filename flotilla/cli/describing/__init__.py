"""What ``flotilla describe`` says of each kind: one module a family, each a function from an object to a sheet.

A kind without a module of its own is described by ``generic``. The functions ask the server for what belongs to the
object (a Deployment's ReplicaSets, a node's pods) and print nothing themselves.
"""
