"""Runs of every flow of ours are watched: one whose machine is gone ends as crashed, and of one that failed is told."""

import asyncio
import runpy
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from prefect import Flow
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Running

DEPLOYMENTS = Path(__file__).parents[2] / "deployments"
DEPLOYED = yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text())["deployments"]
FLOWS = sorted({each["entrypoint"].rpartition(".")[2] for each in DEPLOYED})


@pytest.fixture
def client(server) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: server}), SyncPrefectClient(server) as found:
        yield found


def test_there_are_flows():
    assert {"retrain", "sweep", "predict", "train", "crossvalidate", "ablate", "curve"} <= set(FLOWS)


@pytest.mark.parametrize("name", FLOWS)
def test_a_run_whose_machine_is_gone_ends_as_crashed(client, name):
    """Nobody works on it: the server was only told so. Runs of other people's flows are none of our business."""
    watch = runpy.run_path(str(DEPLOYMENTS / "zombie_runs.py"))["crash_zombies"]
    names = [name, f"not-ours-{uuid.uuid4().hex[:8]}"]
    runs = [client.create_flow_run(Flow(lambda: None, name=each), state=Running()) for each in names]
    watch(client, datetime.now(UTC) + timedelta(minutes=11))
    assert [client.read_flow_run(run.id).state_type.value for run in runs] == ["CRASHED", "RUNNING"]


@pytest.mark.usefixtures("client")
def test_of_a_failed_run_of_any_of_them_is_told():
    block = f"ops-{uuid.uuid4().hex[:8]}"
    Secret(value="any block has an id").save(block)
    apply = runpy.run_path(str(DEPLOYMENTS / "apply.py"))["automations"]

    async def made() -> list[str]:
        async with get_client() as asking:
            await apply(asking, f"secret/{block}")
            (automation,) = await asking.read_automations_by_name("cgcnn-flows tells of failed, crashed and late runs")
            return list(automation.trigger.match_related["prefect.resource.name"])

    assert sorted(asyncio.run(made())) == FLOWS
