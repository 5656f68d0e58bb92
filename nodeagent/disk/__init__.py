"""How much disk the node's pods take, and how much there is.

``filesystems`` asks the kernel about whole file systems, ``measuring`` counts directory trees, ``places`` says where a
pod's writable layers, logs and empty directories lie, and ``meter`` keeps the newest figures of each pod without
measuring what can't have changed.
"""
