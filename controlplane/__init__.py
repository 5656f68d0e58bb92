"""The server: desired state in, assignments out.

In the order in which an ``apply`` passes through: :mod:`controlplane.api` takes the request and turns it into a stored
object, :mod:`controlplane.store` writes it to etcd and feeds what etcd reports back into one cache,
:mod:`controlplane.reconcile` turns cache events into keys for the :mod:`controlplane.controllers`, the
:mod:`controlplane.scheduler` binds pods to nodes, the :mod:`controlplane.autoscaler` sets replica counts from samples,
and the :mod:`controlplane.dispatcher` sends each node what is assigned to it and writes back what the node reports.
:mod:`controlplane.server` wires them together. What comes after is :mod:`nodeagent`, on the other end of the session.
"""
