"""PersistentVolumes and their claims: who gets which volume, what becomes of it, and the built-in provisioner.

:mod:`.controller` is the entry; :mod:`.claims` looks from the claim's side, :mod:`.volumes` from the volume's, and both
write a binding with :mod:`.binding`. :mod:`.provisioning` is pure, as is :mod:`controlplane.scheduler.volume_match`,
which the scheduler asks too. :mod:`.protection` keeps what is in use from being deleted, :mod:`.ephemeral` makes the
claims of pods' own volumes.

Source: Kubernetes' ``pkg/controller/volume`` (persistentvolume, pvcprotection, pvprotection, ephemeral, expand), whose
annotations, events and phases users and other provisioners rely on.
"""
