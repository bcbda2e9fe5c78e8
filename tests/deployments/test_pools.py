"""The work pools' job templates, as the workers of each type read them."""

import asyncio
import runpy
from pathlib import Path

import pytest
from docker.types import HostConfig
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.workers.process import ProcessWorker
from prefect_docker.worker import DockerWorker
from prefect_kubernetes.worker import KubernetesWorker

APPLY = runpy.run_path(str(Path(__file__).parents[2] / "deployments" / "apply.py"))
WORKERS = {"process": ProcessWorker, "docker": DockerWorker, "kubernetes": KubernetesWorker}


@pytest.fixture(scope="session")
def configuration(server):
    """What a worker makes of the pool's template for a deployment with its heartbeat."""

    def read(kind: str, pool: str, nodes: int = 1):
        reads, values = WORKERS[kind].job_configuration, {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}}
        with temporary_settings({PREFECT_API_URL: server}):
            template = asyncio.run(APPLY["template"](kind, pool, nodes))
            return template, asyncio.run(reads.from_template_and_values(template, values))

    return read


@pytest.mark.parametrize("kind", list(WORKERS))
@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_the_worker_takes_its_template_and_all_it_changes_are_variables_it_knows(configuration, kind, pool):
    template, found = configuration(kind, pool)
    own = WORKERS[kind].get_default_base_job_template()["variables"]["properties"]
    assert set(template["variables"]["properties"]) <= set(own)
    assert found.env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"


def test_a_container_of_the_pool_gpu_gets_a_gpu_and_one_of_the_pool_cpu_none(configuration):
    asked = configuration("docker", "gpu")[1].container_create_kwargs
    host = HostConfig(version="1.44", **asked)
    assert host["DeviceRequests"] == [
        {"Driver": "nvidia", "Count": 1, "DeviceIDs": [], "Capabilities": [["gpu"]], "Options": {}}
    ]
    assert not configuration("docker", "cpu")[1].container_create_kwargs


@pytest.mark.parametrize(("pool", "gpus"), [("cpu", None), ("gpu", 1)])
def test_a_pod_gets_its_gpu_its_secrets_and_what_prefect_gives_it(configuration, pool, gpus):
    job = configuration("kubernetes", pool)[1].job_manifest
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"].get("nvidia.com/gpu") == gpus
    assert container["resources"]["requests"] == {"cpu": "2", "memory": "4Gi"}
    assert container["envFrom"] == [{"secretRef": {"name": "cgcnn-flows", "optional": True}}]
    assert container["image"] == "cgcnn-flows:latest"
    assert job["kind"] == "Job"


def test_a_training_on_several_machines_is_one_indexed_job(configuration):
    job = configuration("kubernetes", "gpu", 3)[1].job_manifest
    assert (job["spec"]["completions"], job["spec"]["parallelism"], job["spec"]["completionMode"]) == (3, 3, "Indexed")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "-m", "gnn.join", "/store", "--nodes", "3", "--"]
    assert container["volumeMounts"] == [{"name": "store", "mountPath": "/store"}]
    assert [volume["name"] for volume in pod["volumes"]] == ["store"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["env"]
    assert pod["subdomain"] == "cgcnn-training"
    alone = configuration("kubernetes", "cpu", 3)[1].job_manifest
    assert "completionMode" not in alone["spec"]
