"""What containers and the node use, sampled once a second from the kernel's own counters.

:mod:`nodeagent.metrics.sampler` takes the rounds; they go to the control plane on the session. The pages that show them
(:mod:`nodeagent.metrics.exposition`, ``cadvisor``, ``resource_page``, ``summary``) are one table
(:mod:`nodeagent.metrics.pages`), asked through :mod:`nodeagent.metrics.listener` and through the API.
"""
