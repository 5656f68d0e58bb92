"""What a server asks to be joined to on this node: a new process in a container, its first process, a pod's port.

``tunnels`` opens the call that carries the bytes and finds the container; ``processes``, ``attaching`` and
``forwarding`` move them. Every stream is read only as fast as the other side takes it.
"""
