"""ResourceQuotas: what objects use, which quotas count them, and what is promised to objects that are being stored.

Admission (:mod:`controlplane.api.quota_admission`) writes what a new object will use into the quota's status before the
object is stored, at the version of the quota that it looked at: of many who want the last of something one gets it. The
controller (:mod:`controlplane.controllers.resource_quotas`) counts again what is there, and gives back what is gone.
"""
