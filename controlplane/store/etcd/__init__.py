"""The etcd back-end of the store.

It speaks to etcd with the generated stubs of ``aetcd`` over channels of its own: the package's client knows no TLS,
drops the headers that carry revisions, and lets a watch end in silence.
"""

from controlplane.store.etcd.store import EtcdStore
from controlplane.store.etcd.targets import EtcdTls

__all__ = ["EtcdStore", "EtcdTls"]
