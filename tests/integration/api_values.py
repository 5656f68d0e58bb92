"""What requests for an API server are made of: values that break things, and an object of each kind that is fine."""

from __future__ import annotations

from typing import Any

NASTY: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    2**64,
    10**30,
    -(10**40),
    1.5,
    1e308,
    -0.0,
    "",
    " ",
    "\0",
    "\ud800",
    "\x7f\u202e",
    "a" * 300,
    "é" * 100,
    "../..",
    "$(X)",
    "1e9999",
    "-1",
    "9" * 400 + "Ki",
    "2026-13-45T99:99:99Z",
    "0001-01-01T00:00:00Z",
    "300.1.2.3",
    "::1/200",
    "*",
    {},
    [],
    [[]],
    [None],
    {"a": {}},
    {"": ""},
    ["a", 1],
    {"a": [{"b": None}]},
)
HINTS = {
    "image": "busybox",
    "name": "web",
    "generateName": "web-",
    "namespace": "default",
    "mountPath": "/data",
    "path": "/x",
    "ip": "10.0.0.9",
    "podIP": "10.0.0.9",
    "clusterIP": "",
    "apiVersion": "v1",
    "kind": "Pod",
    "apiGroup": "rbac.authorization.k8s.io",
    "schedule": "*/5 * * * *",
    "provisioner": "example.com/disk",
    "driver": "example.com",
    "controller": "example.com/ingress",
    "handler": "runc",
    "cidr": "10.1.0.0/16",
    "uid": "00000000-0000-0000-0000-000000000001",
    "resourceVersion": "",
    "creationTimestamp": None,
    "deletionTimestamp": None,
    "key": "app",
    "operator": "Exists",
    "type": "",
    "restartPolicy": "",
}
MAP_HINTS: dict[str, dict[str, Any]] = {
    "labels": {"app": "web"},
    "matchLabels": {"app": "web"},
    "selector": {"app": "web"},
    "requests": {"cpu": "10m", "memory": "1Mi"},
    "limits": {"cpu": "20m", "memory": "2Mi"},
    "capacity": {"storage": "1Gi"},
    "hard": {"pods": "4"},
    "data": {"a": "Yg=="},
}
METADATA = {"name": "web", "labels": {"app": "web"}}
_TEMPLATE = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {
        "containers": [{"name": "web", "image": "busybox", "ports": [{"containerPort": 80}], "env": [{"name": "A"}]}],
        "initContainers": [{"name": "first", "image": "busybox", "volumeMounts": [{"name": "d", "mountPath": "/d"}]}],
        "volumes": [{"name": "d", "emptyDir": {}}],
        "tolerations": [{"key": "a", "operator": "Exists"}],
    },
}
_CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
_REFERENCE = {"apiVersion": "v1", "kind": "Pod", "name": "web", "namespace": "default"}
_WORKLOAD = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": _TEMPLATE}
_DEFINED_SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "default": 1, "maximum": 9},
        "names": {
            "type": "array",
            "items": {"type": "string", "pattern": "^[a-z]+$"},
            "x-kubernetes-list-type": "set",
            "maxItems": 9,
        },
        "ports": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["port"],
                "properties": {"port": {"type": "integer"}, "weight": {"type": "number"}},
            },
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port"],
        },
        "either": {"x-kubernetes-int-or-string": True},
        "anything": {"x-kubernetes-preserve-unknown-fields": True},
    },
    "x-kubernetes-validations": [
        {"rule": "self.size < 9"},
        {"rule": "!has(self.names) || self.names.all(name, name.size() < 9)"},
    ],
}
SEEDS: dict[str, dict[str, Any]] = {
    "binding": {"target": {"kind": "Node", "name": "web"}},
    "customresourcedefinitions": {
        "metadata": {"name": "webs.example.com"},
        "spec": {
            "group": "example.com",
            "names": {"kind": "Web", "plural": "webs"},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "subresources": {
                        "status": {},
                        "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
                    },
                    "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "spec": _DEFINED_SPEC,
                                "status": {"type": "object", "properties": {"size": {"type": "integer"}}},
                            },
                        }
                    },
                }
            ],
        },
    },
    "deployments": {"spec": _WORKLOAD},
    "endpointslices": {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.9"]}], "ports": [{"port": 80}]},
    "events": {
        "involvedObject": _REFERENCE,
        "regarding": _REFERENCE,
        "reason": "A",
        "action": "A",
        "type": "Normal",
        "eventTime": "2026-01-02T03:04:05.000000Z",
        "reportingController": "example.com/web",
        "reportingComponent": "example.com/web",
        "reportingInstance": "web",
    },
    "ingresses": {
        "spec": {
            "rules": [
                {
                    "host": "example.com",
                    "http": {
                        "paths": [
                            {
                                "path": "/",
                                "pathType": "Prefix",
                                "backend": {"service": {"name": "web", "port": {"number": 80}}},
                            }
                        ]
                    },
                }
            ]
        }
    },
    "limitranges": {"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}},
    "persistentvolumeclaims": {"spec": _CLAIM},
    "persistentvolumes": {
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}
    },
    "pods": _TEMPLATE,
    "replicasets": {"spec": _WORKLOAD},
    "replicationcontrollers": {"spec": {"selector": {"app": "web"}, "template": _TEMPLATE}},
    "servicecidrs": {"spec": {"cidrs": ["10.9.0.0/16"]}},
    "statefulsets": {"spec": _WORKLOAD | {"serviceName": "web"}},
    "webs": {"spec": {"size": 2, "names": ["a"], "ports": [{"port": 80, "weight": 1.5}], "anything": {"a": [1]}}},
    "volumeattachments": {"spec": {"attacher": "a.b", "nodeName": "n", "source": {"persistentVolumeName": "web"}}},
}
NAMES = ("web", "web", "web", "web", "web", "web", "one", "two", "x" * 63, "Bad_Name", "a.b", "-")
NAMESPACES = (*("default",) * 12, "kube-system", "nowhere", "a" * 64)
SELECTORS = (
    "app=web",
    "app!=web,tier in (a,b)",
    "!app",
    "a>1",
    "a in (" + ",".join(f"v{number}" for number in range(2000)) + ")",
    "=,,(((",
    "app in (",
    "a" * 500,
    "\ud800é=1",
    ",".join(f"k{number}=v" for number in range(500)),
)
FIELDS = (
    "metadata.name=web",
    "spec.nodeName=",
    "status.phase!=Running",
    "nothing=1",
    "metadata.name=a\\,b",
    "=",
    "a\\",
)
ACCEPTS = (
    "application/json",
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf",
    "*/*;q=nan, ;;;",
    "",
)
PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
OPERATIONS = ("add", "remove", "replace", "move", "copy", "test", "explode")
