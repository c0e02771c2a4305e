"""Print the base job template of a Kubernetes work pool: prefect-kubernetes' default with the changes below.

    python deployments/kubernetes/job_template.py --image registry.example/labelaudit:0.1.0 --gpus 1

`deploy-job.yaml` sets it on the two work pools. `job-template.json` is its output without options, to paste into the UI
or into Terraform.
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
    """Return the template for a work pool, with these values as defaults of its variables."""
    template = copy.deepcopy(KubernetesWorker.get_default_base_job_template())
    properties = template["variables"]["properties"]
    properties["gpus"] = {
        "title": "GPUs",
        "description": "Number of GPUs of the job, as the resource nvidia.com/gpu.",
        "type": "integer",
        "minimum": 0,
    }
    properties["secret"] = {
        "title": "Secret",
        "description": "Secret whose entries are environment variables of the job, such as AWS_ACCESS_KEY_ID. "
        "It is optional: the service account may have a cloud role instead.",
        "type": "string",
    }
    properties["cache"] = {
        "title": "Cache volume",
        "description": "Volume named `cache`, for decoded inputs. It may be temporary. If the jobs of a node share it, "
        "each dataset is decoded once per node.",
        "type": "object",
    }
    properties["tolerations"] = {
        "title": "Tolerations",
        "description": "Tolerations of the job, in Kubernetes' syntax.",
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
        # A node with GPUs may have to start first.
        "pod_watch_timeout_seconds": 900,
    }
    for name, value in defaults.items():
        properties[name]["default"] = value
    _change_manifest(template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"])
    return template


def _change_manifest(pod: dict[str, Any]) -> None:
    """Set rights, volumes and GPUs. A value that is exactly one `{{ variable }}` keeps the variable's type."""
    # The default has `completions` and `parallelism` here, and Kubernetes drops them with a warning. They stay, because
    # prefect-kubernetes refuses a template without them. In their right place both default to 1.
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
