"""When the node runs short of memory, disk or process ids: who has to go, and who may still come.

``thresholds`` are what the operator sets; ``signals`` what the kernel says is left; ``state`` decides which thresholds
are met, for how long, and which conditions follow; ``ranking`` puts pods in the order in which they go and words why;
``storage`` finds pods that exceed their own bounds on disk; ``admission`` refuses new pods. All of these are pure but
the reading of signals. ``evictor`` and ``storage_watch`` run them. The order, the words and the defaults are the
kubelet's (Kubernetes' "Node-pressure Eviction", ``pkg/kubelet/eviction``); the clock is not: signals are looked at
every second, where the kubelet takes ten.
"""
