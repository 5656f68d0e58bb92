"""The node: assigned pods in, running containers and their status out.

In the order in which an assignment passes through: :mod:`nodeagent.session` receives it from the control plane,
:mod:`nodeagent.worker` keeps it and gives each pod a worker, which takes the steps that :mod:`nodeagent.lifecycle`
plans: :mod:`nodeagent.images`, :mod:`nodeagent.volumes`, :mod:`nodeagent.network`, then the containers in
:mod:`nodeagent.runtime` under the limits of :mod:`nodeagent.cgroups`. Probes and exits come back as status through
:mod:`nodeagent.status_reporter`, samples through :mod:`nodeagent.metrics`. :mod:`nodeagent.pressure` evicts pods when
memory, the disk (:mod:`nodeagent.disk`) or process ids run out. :mod:`nodeagent.dns` answers names inside pods in a
process of its own. What comes before is :mod:`controlplane.dispatcher`.
"""
