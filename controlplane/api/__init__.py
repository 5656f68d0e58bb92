"""The Kubernetes API: requests in, stored objects and events out.

In the order of a request: :mod:`server` takes it and :mod:`authn` and :mod:`authz` decide whether it may go on,
:mod:`routes` finds its handler (:mod:`reads`, :mod:`watch`, :mod:`writes` and the subresources), :mod:`decoding` makes
an object of its body, :mod:`operations` defaults, validates and stores that, by the rules in :mod:`patch`,
:mod:`apply` and :mod:`deletion`. :mod:`operations` and what it uses know nothing of HTTP: controllers write through it
as well. What is stored comes back through :mod:`controlplane.store.cache`, which reads and watches are answered from.
"""
