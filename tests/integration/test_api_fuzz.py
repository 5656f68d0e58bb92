"""Thousands of requests made from the published OpenAPI: no failure, no hang, nothing left behind.

``FLOTILLA_FUZZ_REQUESTS`` is how many (4,000 by default, 20,000 to be thorough), ``FLOTILLA_FUZZ_SEED`` repeats a run.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yarl

from tests.integration.api_inputs import Endpoint, Grammar, Input, Inputs
from tests.integration.api_process import HELD, ApiProcess, api_process
from tests.integration.api_values import SEEDS

REQUESTS = int(os.environ.get("FLOTILLA_FUZZ_REQUESTS", "4000"))
SEED = int(os.environ.get("FLOTILLA_FUZZ_SEED", random.SystemRandom().randrange(2**32)))
PARALLEL = 8
ANSWER_S = 30.0
REPAIRS = 15
LONGEST_HOLD_S = 0.1  # of CPU time, which a neighbour on the same core may double
SEVERAL_BUDGETS = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
MOST_GROWTH_BYTES = 48 << 20
MOST_GROWTH_A_REQUEST_BYTES = 512

pytestmark = pytest.mark.timeout(120 + REQUESTS // 10)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiProcess]:
    with api_process(tmp_path / "server.log") as process:
        yield process


def grammar_of(server: ApiProcess) -> Grammar:
    """The grammar of everything that the server publishes."""
    index = json.loads(server.get("/openapi/v3")[1])["paths"]
    return Grammar([json.loads(server.get(one["serverRelativeURL"])[1]) for one in index.values()])


async def define(server: ApiProcess) -> Grammar:
    """The grammar once there is a kind that a user has defined."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    async with aiohttp.ClientSession(server.url) as session, asyncio.timeout(ANSWER_S):
        async with session.post(path, json=SEEDS["customresourcedefinitions"]) as response:
            assert response.status == 201, await response.text()
        while True:
            async with session.get("/apis/example.com/v1/webs") as response:
                if response.status == 200:
                    break
    return await asyncio.to_thread(grammar_of, server)


class Fuzzer:
    """Sends requests and collects what must not be."""

    def __init__(self, server: ApiProcess, session: aiohttp.ClientSession, inputs: Inputs) -> None:
        self._server = server
        self._session = session
        self.inputs = inputs
        self.codes: Counter[int] = Counter()
        self.faults: list[str] = []

    async def learn(self, endpoint: Endpoint) -> None:
        """An object that the server takes at a path, found by repairing what it refuses."""
        grammar = self.inputs.grammar
        chance = random.Random(f"{SEED}/{endpoint.path}")
        obj = grammar.seed(chance, endpoint)
        if not isinstance(obj, dict):
            return
        path = endpoint.path.replace("{namespace}", "default").replace("{name}", "web") + "?dryRun=All"
        for _ in range(REPAIRS):
            headers = {"Content-Type": "application/json"}
            code, body = await self.send(Input("POST", path, headers, json.dumps(obj).encode()))
            if code < 300 and isinstance(body, dict):
                self.inputs.known[endpoint.path] = obj
                return
            causes = (body.get("details") or {}).get("causes") or [] if isinstance(body, dict) else []
            grammar.repair(chance, endpoint.schema, obj, causes)
        self.inputs.known.setdefault(endpoint.path, obj)

    async def send(self, one: Input) -> tuple[int, Any]:
        """Code and body of the answer; faults are noted."""
        url = yarl.URL(self._server.url + one.path, encoded=True)
        try:
            async with asyncio.timeout(ANSWER_S):
                async with self._session.request(one.method, url, headers=one.headers, data=one.body) as response:
                    raw = await response.read()
        except (TimeoutError, aiohttp.ClientError) as error:
            self.faults.append(f"{type(error).__name__} {error}: {one}")
            return 0, None
        self.codes[response.status] += 1
        body = self._check(one, response, raw)
        return response.status, body

    def _check(self, one: Input, response: aiohttp.ClientResponse, raw: bytes) -> Any:
        code = response.status
        if response.content_type != "application/json" or not raw:
            if code >= 500:
                self.faults.append(f"{code} {raw[:300]!r}: {one}")
            return None
        try:
            body = json.loads(raw.partition(b"\n")[0] if "watch" in one.path else raw)
        except ValueError as error:
            self.faults.append(f"{code}, an answer that is no JSON ({error}): {one}")
            return None
        if code >= 500 and not _is_allowed(body):
            self.faults.append(f"{code} {body.get('message')}: {one}")
        if code >= 400 and (body.get("kind"), body.get("code")) != ("Status", code):
            self.faults.append(f"{code} without a Status that says so: {one}")
        return body


def _is_allowed(body: Any) -> bool:
    """504 is for a revision yet to come and a deadline that the client has set, 503 here for what only nodes can do.

    And Kubernetes answers 500 to the eviction of a pod that several budgets are for.
    """
    if not isinstance(body, dict):
        return False
    code, reason, message = body.get("code"), body.get("reason"), str(body.get("message"))
    if code == 500:
        return message == SEVERAL_BUDGETS
    return (code, reason) == (504, "Timeout") or "reaches no nodes" in message


async def run(server: ApiProcess, grammar: Grammar, numbers: range, fuzzer_known: dict[str, Any]) -> Fuzzer:
    connector = aiohttp.TCPConnector(limit=PARALLEL)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=True) as session:
        fuzzer = Fuzzer(server, session, Inputs(grammar, SEED))
        fuzzer.inputs.known = fuzzer_known
        if not fuzzer_known:
            for endpoint in grammar.endpoints:
                if endpoint.method == "POST":
                    await fuzzer.learn(endpoint)
        following = iter(numbers)

        async def work() -> None:
            for number in following:
                await fuzzer.send(fuzzer.inputs.at(number))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(PARALLEL):
                tasks.create_task(work())
        return fuzzer


def test_objects_near_to_valid_ones(server: ApiProcess) -> None:
    """Whatever is changed in objects, patches and options: a Status, no 5xx, no hang, no leak, the loop never held."""
    print(f"FLOTILLA_FUZZ_SEED={SEED} FLOTILLA_FUZZ_REQUESTS={REQUESTS}")
    grammar = asyncio.run(define(server))
    known: dict[str, Any] = {}
    warm = asyncio.run(run(server, grammar, range(REQUESTS // 2), known))
    descriptors, tasks, resident = server.descriptors, server.metric("flotilla_tasks"), server.resident_bytes
    hot = asyncio.run(run(server, grammar, range(REQUESTS // 2, REQUESTS), known))
    faults = [*warm.faults, *hot.faults]
    held_s = server.metric(HELD)
    memory = f"{resident >> 20} MiB half-way and {server.resident_bytes >> 20} MiB after"
    print(f"answers: {dict(warm.codes + hot.codes)}, longest hold {held_s * 1000:.0f} ms, {memory}")
    assert not faults, f"seed {SEED}, {len(faults)} faults, the first:\n" + "\n".join(faults[:20])
    assert sum(count for code, count in (warm.codes + hot.codes).items() if code < 300) > REQUESTS // 10
    assert server.descriptors <= descriptors + 2
    assert server.metric("flotilla_tasks") <= tasks + 2
    grown = server.resident_bytes - resident
    assert grown <= MOST_GROWTH_BYTES + MOST_GROWTH_A_REQUEST_BYTES * REQUESTS // 2, f"{grown >> 20} MiB"
    assert held_s <= 2 * LONGEST_HOLD_S
