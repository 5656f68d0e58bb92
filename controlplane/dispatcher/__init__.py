"""From the cache to the nodes and back: one session a node.

Down: :mod:`feed` turns cache events into marks on the sessions that they concern, :mod:`assignments` says what a node
must hold and how that differs from what it was sent, :mod:`messages` cuts it into numbered messages, :mod:`session`
writes them. Up: :mod:`session` reads, :mod:`statuses` and :mod:`node_status` write what changed to the API,
:mod:`sessions` knows when each node was last heard. :mod:`joining` gives a node its certificate, :mod:`tunnels` carries
log streams, and :mod:`service` is the gRPC server around it all. The other end is :mod:`nodeagent`.
"""
