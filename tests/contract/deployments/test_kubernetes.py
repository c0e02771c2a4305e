"""The Kubernetes manifests, and the jobs that a worker makes from the template of its work pool."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import shutil
import subprocess
import threading
import tomllib
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from support.paths import ROOT

if TYPE_CHECKING:
    # Takes seconds, and each process of the tests imports all files.
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

FOLDER = ROOT / "deployments" / "kubernetes"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
KUBERNETES = ("1.30", "1.33", "1.37")
SECRET = "name:hunter2"


def _job_template(**options: Any) -> dict[str, Any]:
    specification = importlib.util.spec_from_file_location("job_template", FOLDER / "job_template.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    template: dict[str, Any] = module.job_template(**options)
    return template


def _documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def manifests() -> list[dict[str, Any]]:
    kustomization = yaml.safe_load((FOLDER / "base" / "kustomization.yaml").read_text())
    return [
        document for name in kustomization["resources"] for document in _documents((FOLDER / "base" / name).read_text())
    ]


def _manifest(kind: str, name: str) -> dict[str, Any]:
    [found] = [item for item in manifests() if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def _pods() -> list[dict[str, Any]]:
    return [item["spec"]["template"]["spec"] for item in manifests() if item["kind"] in ("Deployment", "Job")]


def rendered(values: dict[str, Any], **options: Any) -> KubernetesWorkerJobConfiguration:
    """Return a job's configuration as a worker creates it for a run with these job variables."""
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    settings = {PREFECT_API_URL: "http://prefect.example/api", PREFECT_API_AUTH_STRING: SECRET}
    with temporary_settings(settings):
        configuration: KubernetesWorkerJobConfiguration = asyncio.run(
            KubernetesWorkerJobConfiguration.from_template_and_values(_job_template(**options), values)
        )
        configuration.prepare_for_flow_run(FlowRun(flow_id=uuid.uuid4(), name="fold-3"))
    return configuration


def container(configuration: KubernetesWorkerJobConfiguration) -> dict[str, Any]:
    [only] = configuration.job_manifest["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = only
    return found


@pytest.mark.parametrize("version", KUBERNETES)
def test_manifests_are_valid(version: str) -> None:
    kinds = []
    for manifest in manifests():
        kubernetes_validate.validate(manifest, version, strict=True)
        kinds.append(manifest["kind"])
    assert kinds.count("Deployment") == 2
    assert {"ConfigMap", "ServiceAccount", "Role", "RoleBinding", "Job"} <= set(kinds)


def test_a_misspelt_field_is_found() -> None:
    """The check above is able to fail."""
    manifest = _manifest("Deployment", "labelaudit-gpu-worker")
    manifest["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(manifest, KUBERNETES[0], strict=True)


def test_the_example_renders() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, whose kustomize renders the example, is not installed")
    done = subprocess.run(["kubectl", "kustomize", FOLDER / "example"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    documents = _documents(done.stdout)
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES[-1], strict=True)
        assert document["metadata"]["namespace"] == "labelaudit"
    pods = [item["spec"]["template"]["spec"] for item in documents if item["kind"] in ("Deployment", "Job")]
    image = f"registry.example/ml/labelaudit:{VERSION}"
    assert [pod["containers"][0]["image"] for pod in pods] == [image] * 3
    [job] = [item for item in documents if item["kind"] == "Job"]
    variables = {entry["name"]: entry for entry in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert variables["IMAGE"]["value"] == image
    # The namespace of a role binding's subject is set too.
    [binding] = [item for item in documents if item["kind"] == "RoleBinding"]
    assert binding["subjects"][0]["namespace"] == "labelaudit"


def test_images_and_labels_have_the_version_of_the_project() -> None:
    images = {pod["containers"][0]["image"] for pod in _pods()}
    assert images == {f"labelaudit:{VERSION}"}
    assert _job_template()["variables"]["properties"]["image"]["default"] == f"labelaudit:{VERSION}"
    kustomization = yaml.safe_load((FOLDER / "base" / "kustomization.yaml").read_text())
    assert kustomization["labels"][0]["pairs"]["app.kubernetes.io/version"] == VERSION


def test_pods_have_no_rights_on_their_node() -> None:
    pods = [*_pods(), rendered({}).job_manifest["spec"]["template"]["spec"]]
    assert len(pods) == 4
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        [only] = pod["containers"]
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "/tmp" in [mount["mountPath"] for mount in only["volumeMounts"]]


def test_the_worker_has_few_rights() -> None:
    rules = _manifest("Role", "labelaudit-worker")["rules"]
    granted = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    # The calls of prefect-kubernetes: it creates, reads, lists and deletes jobs, watches jobs and pods, reads logs.
    needed = {("jobs", verb) for verb in ("create", "get", "list", "watch", "delete")}
    needed |= {("pods", "list"), ("pods", "watch"), ("pods/log", "get")}
    assert needed <= granted
    assert not {verb for _, verb in granted - needed} - {"get", "list", "watch"}
    assert {resource for resource, _ in granted} == {"jobs", "pods", "pods/log", "events"}
    assert not [item for item in manifests() if item["kind"].startswith("ClusterRole")]
    assert _manifest("ServiceAccount", "labelaudit-job")["automountServiceAccountToken"] is False


def test_secrets_are_references() -> None:
    assert not [item for item in manifests() if item["kind"] == "Secret"]
    for pod in _pods():
        variables = {entry["name"]: entry for entry in pod["containers"][0]["env"]}
        assert variables["PREFECT_API_AUTH_STRING"]["valueFrom"] == {
            "secretKeyRef": {"name": "labelaudit-prefect", "key": "auth-string"}
        }
    assert not re.findall("SECRET|PASSWORD|AUTH|ACCESS_KEY", " ".join(_manifest("ConfigMap", "labelaudit")["data"]))


def test_the_template_in_the_repository_is_the_one_that_is_printed() -> None:
    """To update: `python deployments/kubernetes/job_template.py > deployments/kubernetes/job-template.json`."""
    assert json.loads((FOLDER / "job-template.json").read_text()) == _job_template()


def test_the_template_is_the_default_and_a_few_changes() -> None:
    from prefect_kubernetes.worker import KubernetesWorker

    default, ours = KubernetesWorker.get_default_base_job_template(), _job_template()
    added = set(ours["variables"]["properties"]) - set(default["variables"]["properties"])
    assert added == {"gpus", "secret", "cache", "tolerations"}
    assert set(default["variables"]["properties"]) <= set(ours["variables"]["properties"])
    changed = {key for key, value in ours["job_configuration"].items() if value != default["job_configuration"][key]}
    assert changed == {"job_manifest"}


@pytest.mark.parametrize("gpus", [0, 1, 2])
def test_gpus_are_a_resource_of_the_job(gpus: int) -> None:
    configuration = rendered({"gpus": gpus})
    assert container(configuration)["resources"]["limits"] == {"nvidia.com/gpu": gpus}
    for version in KUBERNETES:
        # Not strict, because prefect-kubernetes requires two fields that Kubernetes does not know in this place.
        kubernetes_validate.validate(configuration.job_manifest, version)


def test_the_pools_have_their_defaults() -> None:
    cpu, gpu = rendered({}), rendered({}, gpus=1, image="registry.example/labelaudit:7", namespace="ml")
    assert container(cpu)["resources"]["limits"] == {"nvidia.com/gpu": 0}
    assert container(gpu)["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert container(gpu)["image"] == "registry.example/labelaudit:7"
    assert gpu.job_manifest["metadata"]["namespace"] == "ml"
    tolerated = [item.job_manifest["spec"]["template"]["spec"].get("tolerations") for item in (cpu, gpu)]
    assert not tolerated[0]
    assert tolerated[1] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_job_variables_change_the_job() -> None:
    claim = {"name": "cache", "persistentVolumeClaim": {"claimName": "decoded"}}
    configuration = rendered({"secret": "other", "cache": claim, "memory_limit": "16Gi"})
    kubernetes_validate.validate(configuration.job_manifest, KUBERNETES[-1])
    assert claim in configuration.job_manifest["spec"]["template"]["spec"]["volumes"]
    assert {"secretRef": {"name": "other", "optional": True}} in container(configuration)["envFrom"]
    assert container(configuration)["resources"]["limits"]["memory"] == "16Gi"


def test_a_job_refers_to_what_the_manifests_make() -> None:
    configuration = rendered({})
    account = configuration.job_manifest["spec"]["template"]["spec"]["serviceAccountName"]
    assert _manifest("ServiceAccount", account)
    [settings, secret] = container(configuration)["envFrom"]
    assert _manifest("ConfigMap", settings["configMapRef"]["name"])
    assert secret == {"secretRef": {"name": "labelaudit-s3", "optional": True}}


@pytest.fixture
def cluster() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Imitate a cluster's API server as far as creating a job needs it. Returns its URL and the received manifests."""
    given: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            given.append(json.loads(body))
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", given
        server.shutdown()
        thread.join()


async def _create(configuration: KubernetesWorkerJobConfiguration, url: str) -> None:
    from kubernetes_asyncio.client import ApiClient, Configuration
    from prefect_kubernetes.worker import KubernetesWorker

    async with ApiClient(Configuration(host=url)) as client:
        await KubernetesWorker("labelaudit-gpu")._create_job(configuration, client)


def test_no_credential_reaches_a_job(
    cluster: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """prefect-kubernetes passes its own PREFECT_ settings to every job, including the password. The environment
    of our worker replaces it with a reference before the job is sent to the cluster."""
    url, given = cluster
    configuration = rendered({"gpus": 1})
    assert SECRET in json.dumps(configuration.job_manifest)
    [only] = _manifest("Deployment", "labelaudit-gpu-worker")["spec"]["template"]["spec"]["containers"]
    for entry in only["env"]:
        if "value" in entry:
            monkeypatch.setenv(entry["name"], entry["value"])
    asyncio.run(_create(configuration, url))
    [job] = given
    assert SECRET not in json.dumps(job)
    [sent] = job["spec"]["template"]["spec"]["containers"]
    assert {
        "name": "PREFECT_API_AUTH_STRING",
        "valueFrom": {"secretKeyRef": {"name": "labelaudit-prefect", "key": "auth-string"}},
    } in sent["env"]
    assert sent["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert sent["args"] == ["prefect", "flow-run", "execute"]
