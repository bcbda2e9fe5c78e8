"""Creates or updates the work pools, deployments and automations on the server at PREFECT_API_URL.

    python deployments/apply.py --store s3://bucket/store [--type kubernetes] [--gpus 2] [--notify slack-webhook/ops]

It asks nothing, and may be run any number of times: the result is the same.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from httpx import HTTPError
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

from storage.store import Store

HERE = Path(__file__).resolve().parent
CHANGES = yaml.safe_load((HERE / "pools.yaml").read_text(encoding="utf-8"))
POOLS = ("cpu", "gpu")


def main(arguments: Sequence[str] | None = None) -> None:
    """Apply everything, and print a line for each pool, the deployments and each automation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default=os.environ.get("CGCNN_STORE", "store"), help="a folder, or s3://bucket/…")
    parser.add_argument("--type", choices=list(CHANGES), default="process", help="what a worker starts for each run")
    parser.add_argument("--gpus", type=int, default=1, help="trainings at a time in the pool gpu (default: 1)")
    parser.add_argument("--nodes", type=int, default=1, help="pods of each training (kubernetes; default: 1)")
    parser.add_argument("--notify", metavar="TYPE/NAME", help="the notification block that tells of failed runs")
    parser.add_argument("--template", choices=POOLS, help="print that pool's base job template, and make nothing")
    options = parser.parse_args(arguments)
    if options.nodes != 1 and (options.type != "kubernetes" or options.nodes < 1):
        sys.exit(f"apply: --nodes {options.nodes}: one or more pods, in pools of --type kubernetes")
    if "PREFECT_API_URL" not in os.environ:
        sys.exit("apply: PREFECT_API_URL names no server; `make serve` starts one")
    try:
        asyncio.run(shown(options) if options.template else apply(options))
    except (HTTPError, RuntimeError) as error:  # the second: no server answers
        sys.exit(f"apply: {os.environ['PREFECT_API_URL']}: {' '.join(str(error).split())}")


async def shown(options: argparse.Namespace) -> None:
    """Print the base job template of one pool as JSON."""
    print(json.dumps(await template(options.type, options.template, options.nodes), indent=1))


async def apply(options: argparse.Namespace) -> None:
    """Apply pools, deployments and automations. A schedule that somebody switched on or off stays so."""
    async with get_client() as client:
        for name, limit in {"cpu": None, "gpu": options.gpus}.items():
            await _pool(client, name, limit, await template(options.type, name, options.nodes), options.type)
            print(f"pool {name}: {options.type}" + (f", {limit} at a time" if limit is not None else ""))
        before = await _schedules(client)
        deployments(Store.at(options.store).address)
        for name, (deployment, schedules) in (await _schedules(client)).items():
            if name in before and before[name][1]:
                on = any(schedule.active for schedule in before[name][1])
                for schedule in schedules:
                    await client.update_deployment_schedule(deployment, schedule.id, active=on)
        if options.notify:
            await automations(client, options.notify)


async def _schedules(client: PrefectClient) -> dict[str, tuple[UUID, list[DeploymentSchedule]]]:
    found = {}
    for name in _names():
        with contextlib.suppress(ObjectNotFound):
            deployment = await client.read_deployment_by_name(name)
            found[name] = (deployment.id, deployment.schedules)
    return found


async def automations(client: PrefectClient, notify: str) -> None:
    """Create the automations of automations.yaml, or update them if they exist. `notify` is a block as TYPE/NAME."""
    kind, _, name = notify.partition("/")
    try:
        block = await client.read_block_document_by_name(name, kind)
    except ObjectNotFound:
        sys.exit(f"apply: the server has no block {notify}; make it in the UI (Blocks), then apply again")
    flows = json.dumps(sorted({name.partition("/")[0] for name in _names()}))
    text = (HERE / "automations.yaml").read_text(encoding="utf-8")
    for stands_for, value in {"block_document_id: block": str(block.id), "prefect.resource.name: flows": flows}.items():
        text = text.replace(stands_for, f"{stands_for.partition(':')[0]}: {value}")
    for described in yaml.safe_load(text):
        wanted = AutomationCore.model_validate(described)
        there = await client.read_automations_by_name(wanted.name)
        if there:
            await client.update_automation(there[0].id, wanted)
        else:
            await client.create_automation(wanted)
        print(f"automation: {wanted.name}")


async def _pool(client: PrefectClient, name: str, limit: int | None, wanted: dict[str, Any], kind: str) -> None:
    try:
        there = await client.read_work_pool(name)
    except ObjectNotFound:
        await client.create_work_pool(
            WorkPoolCreate(name=name, type=kind, base_job_template=wanted, concurrency_limit=limit)
        )
        return
    if there.type != kind:
        sys.exit(f"apply: the pool {name} is of type {there.type}; delete it first (`prefect work-pool delete {name}`)")
    await client.update_work_pool(name, WorkPoolUpdate(base_job_template=wanted, concurrency_limit=limit))


async def template(kind: str, pool: str, nodes: int = 1) -> dict[str, Any]:
    """The base job template of a pool: Prefect's for that type, with the changes of pools.yaml.

    `nodes` is the number of pods that a run of the pool gpu has.
    """
    found = await get_default_base_job_template_for_infrastructure_type(kind)
    if found is None:
        sys.exit(f"apply: Prefect knows no infrastructure of type {kind}")
    several = CHANGES[kind]["nodes"] if pool == "gpu" and nodes > 1 else {}
    for changes in (CHANGES[kind], CHANGES[kind].get(pool, {}), several):
        for name, value in changes.get("variables", {}).items():
            found["variables"]["properties"][name]["default"] = value
        found["job_configuration"] = merged(found["job_configuration"], changes.get("job_configuration", {}))
    if several:
        job = found["job_configuration"]["job_manifest"]["spec"]
        job |= {"parallelism": nodes, "completions": nodes}
        command = job["template"]["spec"]["containers"][0]["command"]
        command[command.index("N")] = str(nodes)
    return found


def merged(below: Any, above: Any) -> Any:
    """`below` with the values of `above`: dicts are merged key by key, lists item by item."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{name: merged(below.get(name), value) for name, value in above.items()}}
    if isinstance(below, list) and isinstance(above, list):
        return [merged(*pair) for pair in zip(below, above, strict=False)] + below[len(above) :] + above[len(below) :]
    return above


def deployments(store: str) -> None:
    """Deploy all of prefect.yaml, with the store at that address."""
    command = ["--no-prompt", "deploy", "--all", "--prefect-file", "deployments/prefect.yaml"]
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *command],
        cwd=HERE.parent,
        env={**os.environ, "CGCNN_STORE": store},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"apply: the deployments were not made\n{done.stdout}\n{done.stderr}")
    print(f"deployments {', '.join(_names())}: store {store}")


def _names() -> list[str]:
    found = yaml.safe_load((HERE / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    return [f"{each['entrypoint'].rpartition('.')[2]}/{each['name']}" for each in found]


if __name__ == "__main__":
    main()
