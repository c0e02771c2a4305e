"""Print the base job template of a Kubernetes work pool: prefect-kubernetes' default and the changes below.

    python deployments/kubernetes/job_template.py --image registry.example/labelaudit:0.1.0 --gpus 1

`deploy-job.yaml` gives it to the two work pools. `job-template.json` is its output without options, for those who
paste it into the UI or into Terraform.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from typing import Any

from prefect_kubernetes.worker import KubernetesWorker

IMAGE = "labelaudit:0.1.0"
NAMESPACE = "labelaudit"


def job_template(*, image: str = IMAGE, namespace: str = NAMESPACE, gpus: int = 0) -> dict[str, Any]:
    """The template as a work pool takes it, with these values as the defaults of its variables."""
    template = copy.deepcopy(KubernetesWorker.get_default_base_job_template())
    properties = template["variables"]["properties"]
    properties["gpus"] = {
        "title": "GPUs",
        "description": "Whole GPUs of the job, as the resource nvidia.com/gpu.",
        "type": "integer",
        "minimum": 0,
    }
    properties["secret"] = {
        "title": "Secret",
        "description": "Secret whose entries are environment variables of the job, such as AWS_ACCESS_KEY_ID. "
        "It may be missing, where the service account has a role in the cloud.",
        "type": "string",
    }
    properties["cache"] = {
        "title": "Cache volume",
        "description": "Volume named `cache`, for decoded inputs. It need not outlive the job; one that the jobs of "
        "a node share decodes each dataset once per node.",
        "type": "object",
    }
    properties["tolerations"] = {
        "title": "Tolerations",
        "description": "Taints of nodes on which the job may run, as Kubernetes writes them.",
        "type": "array",
        "items": {"type": "object"},
    }
    defaults = {
        "image": image,
        "namespace": namespace,
        "gpus": gpus,
        "secret": "labelaudit-s3",
        "cache": {"name": "cache", "emptyDir": {"sizeLimit": "50Gi"}},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}] if gpus else [],
        "service_account_name": "labelaudit-job",
        "finished_job_ttl": 3600,
        # A node with GPUs may have to be started first.
        "pod_watch_timeout_seconds": 900,
    }
    for name, value in defaults.items():
        properties[name]["default"] = value
    _change_manifest(template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"])
    return template


def _change_manifest(pod: dict[str, Any]) -> None:
    """Rights, volumes and GPUs. Where a value is one whole `{{ variable }}`, its type stays."""
    # The default has `completions` and `parallelism` here, where Kubernetes drops them with a warning. They stay:
    # prefect-kubernetes refuses a template without them, and both are 1 by default where they belong.
    pod["automountServiceAccountToken"] = False
    pod["securityContext"] = {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    pod["tolerations"] = "{{ tolerations }}"
    pod["volumes"] = [{"name": "tmp", "emptyDir": {}}, "{{ cache }}"]
    container = pod["containers"][0]
    container["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    container["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "cache", "mountPath": "/cache"}]
    container["envFrom"] = [
        {"configMapRef": {"name": "labelaudit", "optional": True}},
        {"secretRef": {"name": "{{ secret }}", "optional": True}},
    ]
    container["resources"]["limits"]["nvidia.com/gpu"] = "{{ gpus }}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the base job template of a Kubernetes work pool.")
    parser.add_argument("--image", default=IMAGE)
    parser.add_argument("--namespace", default=NAMESPACE)
    parser.add_argument("--gpus", type=int, default=0)
    json.dump(job_template(**vars(parser.parse_args())), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
