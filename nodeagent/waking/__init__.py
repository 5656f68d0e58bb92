"""Requests to a service whose workload is at zero: held on the node, the workload woken, the requests delivered.

A Service annotated with ``flotilla.dev/hold-requests: "true"`` that has no endpoint leads to the waker
(:mod:`nodeagent.waking.waker`), which lives in the DNS process, so that what it holds outlives the agent. What it needs
to know is in a file that the agent writes (:mod:`nodeagent.waking.held`); it rings at the agent's doorbell
(:mod:`nodeagent.waking.doorbell`), the agent tells the leader, the autoscaler starts a replica, and its endpoint comes
back by the file.
"""
