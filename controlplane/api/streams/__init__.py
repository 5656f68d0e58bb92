"""Streams through the API server: commands, attached terminals and forwarded ports of running pods.

A client speaks one of three transports (``channels``: WebSocket with numbered channels; ``spdy``: SPDY/3.1 on an
upgraded connection, or the same inside a WebSocket) and the node speaks one (``source``); ``remote_command`` and
``port_forward`` join them. Nothing is buffered beyond what is in flight: who reads slowly stops who writes.
"""
