"""What containers and the node use, sampled once a second from the kernel's own counters.

:mod:`nodeagent.metrics.sampler` takes the rounds; they go to the control plane on the session, and
:mod:`nodeagent.metrics.exposition` shows the newest one to Prometheus under cAdvisor's names, through
:mod:`nodeagent.metrics.listener`.
"""
