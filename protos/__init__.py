"""The contract between the control plane and the node agents.

``dispatcher.proto`` is the specification; its comments say what each side promises. The Python modules beside it are
generated when the package is built and are not committed.
"""
