"""Images on a node: pulled or loaded once, verified, unpacked once, stacked under each container by overlayfs.

The store's directory is an OCI image layout (``index.json``, ``blobs/sha256``), so that skopeo, umoci and any other
OCI tool read it as it is; beside it, ``layers/`` holds each layer unpacked. skopeo carries images in, an own child
process unpacks them inside a chroot, and :mod:`nodeagent.images.rootfs` mounts the result. Several processes may use
one directory at once: every change is made under file locks.
"""
