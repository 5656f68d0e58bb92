"""One object of every kind that is stored, and the headings that kubectl shows for it on Kubernetes 1.35.

``$unique`` in a manifest is a name that no other test uses, and what cluster-wide objects are called after.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from string import Template

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Kind:
    """``headings`` are those of ``get -o wide``, with ``|`` where those of ``get`` end; or both, ``||`` between."""

    resource: str
    headings: str
    manifest: str

    def narrow(self) -> list[str]:
        """The words of the first line of ``get``."""
        return self.headings.partition("|")[0].split()

    def wide(self) -> list[str]:
        """The words of the first line of ``get -o wide``."""
        return self.headings.rpartition("||")[2].replace("|", " ").split()

    def text(self, unique: str) -> str:
        """The manifest, as YAML."""
        return Template(self.manifest).substitute(unique=unique, template=_TEMPLATE, request=_REQUEST)


def certificate_request(name: str) -> str:
    """A PKCS#10 request for ``name``, as a CertificateSigningRequest has it."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


_EVENTS = (
    "LAST SEEN TYPE REASON OBJECT MESSAGE||LAST SEEN TYPE REASON OBJECT SUBOBJECT SOURCE MESSAGE FIRST SEEN COUNT NAME"
)
_WIDE = "|CONTAINERS IMAGES SELECTOR"
_HEADINGS = {
    "configmaps": "NAME DATA AGE",
    "endpoints": "NAME ENDPOINTS AGE",
    "events": _EVENTS,
    "limitranges": "NAME CREATED AT",
    "namespaces": "NAME STATUS AGE",
    "nodes": "NAME STATUS ROLES AGE VERSION|INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME",
    "persistentvolumeclaims": (
        "NAME STATUS VOLUME CAPACITY ACCESS MODES STORAGECLASS VOLUMEATTRIBUTESCLASS AGE|VOLUMEMODE"
    ),
    "persistentvolumes": (
        "NAME CAPACITY ACCESS MODES RECLAIM POLICY STATUS CLAIM STORAGECLASS VOLUMEATTRIBUTESCLASS REASON AGE"
        "|VOLUMEMODE"
    ),
    "pods": "NAME READY STATUS RESTARTS AGE|IP NODE NOMINATED NODE READINESS GATES",
    "podtemplates": "NAME CONTAINERS IMAGES POD LABELS",
    "replicationcontrollers": "NAME DESIRED CURRENT READY AGE" + _WIDE,
    "resourcequotas": "NAME REQUEST LIMIT AGE",
    "secrets": "NAME TYPE DATA AGE",
    "serviceaccounts": "NAME AGE",
    "services": "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE|SELECTOR",
    "customresourcedefinitions.apiextensions.k8s.io": "NAME CREATED AT",
    "controllerrevisions.apps": "NAME CONTROLLER REVISION AGE",
    "daemonsets.apps": "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE" + _WIDE,
    "deployments.apps": "NAME READY UP-TO-DATE AVAILABLE AGE" + _WIDE,
    "replicasets.apps": "NAME DESIRED CURRENT READY AGE" + _WIDE,
    "statefulsets.apps": "NAME READY AGE|CONTAINERS IMAGES",
    "horizontalpodautoscalers.autoscaling": "NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE",
    "cronjobs.batch": "NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE AGE" + _WIDE,
    "jobs.batch": "NAME STATUS COMPLETIONS DURATION AGE" + _WIDE,
    "certificatesigningrequests.certificates.k8s.io": "NAME AGE SIGNERNAME REQUESTOR REQUESTEDDURATION CONDITION",
    "leases.coordination.k8s.io": "NAME HOLDER AGE",
    "endpointslices.discovery.k8s.io": "NAME ADDRESSTYPE PORTS ENDPOINTS AGE",
    "events.events.k8s.io": _EVENTS,
    "ingressclasses.networking.k8s.io": "NAME CONTROLLER PARAMETERS AGE",
    "ingresses.networking.k8s.io": "NAME CLASS HOSTS ADDRESS PORTS AGE",
    "ipaddresses.networking.k8s.io": "NAME PARENTREF",
    "networkpolicies.networking.k8s.io": "NAME POD-SELECTOR AGE",
    "servicecidrs.networking.k8s.io": "NAME CIDRS AGE",
    "runtimeclasses.node.k8s.io": "NAME HANDLER AGE",
    "poddisruptionbudgets.policy": "NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE",
    "clusterrolebindings.rbac.authorization.k8s.io": "NAME ROLE AGE|USERS GROUPS SERVICEACCOUNTS",
    "clusterroles.rbac.authorization.k8s.io": "NAME CREATED AT",
    "rolebindings.rbac.authorization.k8s.io": "NAME ROLE AGE|USERS GROUPS SERVICEACCOUNTS",
    "roles.rbac.authorization.k8s.io": "NAME CREATED AT",
    "priorityclasses.scheduling.k8s.io": "NAME VALUE GLOBAL-DEFAULT AGE PREEMPTIONPOLICY",
    "csidrivers.storage.k8s.io": (
        "NAME ATTACHREQUIRED PODINFOONMOUNT STORAGECAPACITY TOKENREQUESTS REQUIRESREPUBLISH MODES AGE"
    ),
    "csinodes.storage.k8s.io": "NAME DRIVERS AGE",
    "csistoragecapacities.storage.k8s.io": "NAME STORAGECLASSNAME CAPACITY",
    "storageclasses.storage.k8s.io": ("NAME PROVISIONER RECLAIMPOLICY VOLUMEBINDINGMODE ALLOWVOLUMEEXPANSION AGE"),
    "volumeattachments.storage.k8s.io": "NAME ATTACHER PV NODE ATTACHED AGE",
}
_TEMPLATE = "{metadata: {labels: {app: example}}, spec: {containers: [{name: main, image: busybox}]}}"
_REQUEST = certificate_request("example")
_MANIFESTS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: example}
data: {key: value}
---
apiVersion: v1
kind: Endpoints
metadata: {name: manual}
subsets:
- addresses: [{ip: 192.0.2.7}]
  ports: [{port: 80, protocol: TCP}]
---
apiVersion: v1
kind: Event
metadata: {name: example}
involvedObject: {apiVersion: v1, kind: ConfigMap, name: example, namespace: $unique}
reason: Tested
message: something happened
type: Normal
source: {component: test}
firstTimestamp: "2026-01-01T00:00:00Z"
lastTimestamp: "2026-01-01T00:00:00Z"
count: 1
---
apiVersion: v1
kind: LimitRange
metadata: {name: example}
spec: {limits: [{type: PersistentVolumeClaim, max: {storage: 10Gi}}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: $unique-other}
---
apiVersion: v1
kind: Node
metadata: {name: $unique, labels: {test: $unique}}
spec: {unschedulable: true}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: example}
spec: {accessModes: [ReadWriteOnce], storageClassName: manual, resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: $unique}
spec:
  capacity: {storage: 5Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: unused
  hostPath: {path: /srv}
---
apiVersion: v1
kind: Pod
metadata: {name: example}
spec: {containers: [{name: main, image: busybox}]}
---
apiVersion: v1
kind: PodTemplate
metadata: {name: example}
template: $template
---
apiVersion: v1
kind: ReplicationController
metadata: {name: example}
spec: {replicas: 0, selector: {app: example}, template: $template}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: example}
spec: {hard: {requests.cpu: "4", limits.memory: 8Gi, pods: "50"}}
---
apiVersion: v1
kind: Secret
metadata: {name: example}
data: {key: dmFsdWU=}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: example}
---
apiVersion: v1
kind: Service
metadata: {name: example}
spec: {selector: {app: example}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: "things.$unique.example.com"}
spec:
  group: "$unique.example.com"
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing, listKind: ThingList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
---
apiVersion: apps/v1
kind: ControllerRevision
metadata: {name: example}
revision: 1
data: {spec: {}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: example}
spec:
  selector: {matchLabels: {app: example}}
  template:
    metadata: {labels: {app: example}}
    spec: {nodeSelector: {place: nowhere}, containers: [{name: main, image: busybox}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: example}
spec: {replicas: 0, selector: {matchLabels: {app: example}}, template: $template}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: example}
spec: {replicas: 0, selector: {matchLabels: {app: example}}, template: $template}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: example}
spec: {replicas: 0, serviceName: example, selector: {matchLabels: {app: example}}, template: $template}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: example}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: example}
  minReplicas: 1
  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: example}
spec:
  schedule: "0 0 1 1 *"
  suspend: true
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: busybox}]}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: example}
spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: main, image: busybox}]}}}
---
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: $unique}
spec: {request: $request, signerName: example.com/signer, usages: [client auth], expirationSeconds: 86400}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: example}
spec: {holderIdentity: somebody, leaseDurationSeconds: 15}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: example, labels: {kubernetes.io/service-name: example}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.8]}]
ports: [{name: http, port: 80, protocol: TCP}]
---
apiVersion: events.k8s.io/v1
kind: Event
metadata: {name: newer}
eventTime: "2026-01-01T00:00:00.000000Z"
reportingController: example.com/test
reportingInstance: test-1
action: Testing
reason: Tested
regarding: {apiVersion: v1, kind: ConfigMap, name: example, namespace: $unique}
note: something happened
type: Normal
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: $unique}
spec: {controller: example.com/ingress}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: example}
spec:
  rules:
  - host: example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: example, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: IPAddress
metadata: {name: 198.51.100.7}
spec: {parentRef: {resource: services, namespace: $unique, name: example}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: example}
spec:
  podSelector: {matchLabels: {app: example}}
  policyTypes: [Ingress]
  ingress: [{ports: [{port: 80, protocol: TCP}]}]
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: $unique}
spec: {cidrs: [198.51.100.0/24]}
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: $unique}
handler: runc
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: example}
spec: {minAvailable: 1, selector: {matchLabels: {app: example}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: $unique}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: $unique}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: nobody}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: $unique}
rules: [{apiGroups: [""], resources: [pods], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: example}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: example}
subjects: [{kind: ServiceAccount, name: example, namespace: $unique}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: example}
rules: [{apiGroups: [apps], resources: [deployments], verbs: [get, patch]}]
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: $unique}
value: 1000
description: tested
---
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {name: $unique}
spec: {attachRequired: true, podInfoOnMount: false}
---
apiVersion: storage.k8s.io/v1
kind: CSINode
metadata: {name: $unique}
spec: {drivers: [{name: example.com, nodeID: one, topologyKeys: []}]}
---
apiVersion: storage.k8s.io/v1
kind: CSIStorageCapacity
metadata: {name: example}
storageClassName: manual
capacity: 10Gi
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: $unique}
provisioner: example.com/provisioner
---
apiVersion: storage.k8s.io/v1
kind: VolumeAttachment
metadata: {name: $unique}
spec: {attacher: example.com, nodeName: $unique, source: {persistentVolumeName: $unique}}
"""


def _kinds() -> Iterator[Kind]:
    for (resource, headings), manifest in zip(_HEADINGS.items(), _MANIFESTS.split("---\n"), strict=True):
        yield Kind(resource, headings, manifest)


KINDS = tuple(_kinds())
