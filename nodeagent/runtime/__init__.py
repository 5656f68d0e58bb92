"""Running containers: from a resolved request to a process, and from its end back to an event.

``spec`` and ``security`` build the OCI configuration as pure functions, ``users`` reads the image's user files,
``conmon`` and ``oci`` call the two programs, ``exits`` hears of ends, and ``containers`` joins them by container id.
Only this package starts container processes.
"""
