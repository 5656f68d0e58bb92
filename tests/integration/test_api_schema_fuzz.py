"""Schemathesis on the published OpenAPI: what the document allows, and what it does not, gets a Status and no failure.

``FLOTILLA_FUZZ_REQUESTS`` is how many requests (200 by default, to some of the operations), ``FLOTILLA_FUZZ_SEED``
repeats a run. Watches are left out, because they last; bodies against the schema are made for few requests only,
because making them takes longest. All operations are asked in rounds until so many requests were made, since there are
operations that few different requests can be made for. A thorough run, of half an hour::

    FLOTILLA_FUZZ_REQUESTS=20000 pytest -s tests/integration/test_api_schema_fuzz.py tests/integration/test_api_fuzz.py
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from tests.integration.api_process import HELD, ApiProcess, api_process

REQUESTS = int(os.environ.get("FLOTILLA_FUZZ_REQUESTS", "200"))
SEED = int(os.environ.get("FLOTILLA_FUZZ_SEED", random.SystemRandom().randrange(2**32)))
ANSWER_S = 30.0
FEWEST_EACH = 8
LONGEST_HOLD_S = 0.1  # of CPU time, which a neighbour on the same core may double
GENERATION = settings(
    database=None,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
_UPGRADES = ("/exec", "/attach", "/portforward", "/proxy")

pytestmark = pytest.mark.timeout(180 + REQUESTS // 5)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiProcess]:
    with api_process(tmp_path / "server.log") as process:
        yield process


def operations(server: ApiProcess) -> list[Any]:
    """Every operation that the server publishes."""
    index = json.loads(server.get("/openapi/v3")[1])["paths"]
    found = []
    for one in index.values():
        schema = schemathesis.openapi.from_dict(json.loads(server.get(one["serverRelativeURL"])[1]))
        results = list(schema.get_all_operations())
        assert all(isinstance(result, Ok) for result in results)
        found += [result.ok() for result in results if isinstance(result, Ok)]
    return [operation for operation in found if not operation.path.endswith(_UPGRADES)]


def fault_of(case: Any, server: ApiProcess, session: requests.Session, codes: Counter[int]) -> str:
    """What is wrong with the answer to one request, ``""`` if nothing is."""
    case.query = {name: value for name, value in (case.query or {}).items() if name != "watch"}
    try:
        response = case.call(base_url=server.url, session=session, timeout=ANSWER_S)
    except (requests.RequestException, OSError) as error:
        return f"{type(error).__name__} {error}"
    codes[response.status_code] += 1
    if response.status_code < 400:
        return ""
    body = response.json() if response.content else {}
    if response.status_code == 504 and body.get("reason") == "Timeout":
        return ""
    if response.status_code >= 500 or body.get("code") != response.status_code:
        return f"{response.status_code} {response.text[:300]}"
    return ""


class Asker:
    """Asks operations, and counts the answers and what is wrong with them."""

    def __init__(self, server: ApiProcess, session: requests.Session) -> None:
        self._server = server
        self._session = session
        self._chance = random.Random(SEED)
        self.codes: Counter[int] = Counter()
        self.faults: list[str] = []

    @property
    def left(self) -> int:
        return REQUESTS - sum(self.codes.values())

    def round(self, known: list[Any], number: int) -> None:
        """Ask every operation, each as often as the requests that are left allow."""
        self._chance.shuffle(known)
        each = max(FEWEST_EACH, self.left // len(known))
        for operation in known:
            count = min(each, self.left)
            if count <= 0:
                return
            against = operation.method.upper() not in ("POST", "PUT") or self._chance.random() < 0.05
            modes = [GenerationMode.NEGATIVE, GenerationMode.POSITIVE] if against else [GenerationMode.POSITIVE]
            for mode in modes:
                with suppress(Unsatisfiable):  # an operation without parameters has nothing to be against
                    self._ask(operation.as_strategy(generation_mode=mode), max(1, count // len(modes)), SEED + number)

    def _ask(self, cases: Any, count: int, seed: int) -> None:
        @hypothesis.seed(seed)
        @settings(GENERATION, max_examples=count)
        @given(case=cases)
        def ask(case: Any) -> None:
            fault = fault_of(case, self._server, self._session, self.codes)
            if fault:
                self.faults.append(f"{fault}: {case.as_curl_command()[:2000]}")

        ask()


def test_the_published_document(server: ApiProcess) -> None:
    """Every operation, with parameters and bodies that fit and some that do not: no 5xx, no hang, nothing left open."""
    print(f"FLOTILLA_FUZZ_SEED={SEED} FLOTILLA_FUZZ_REQUESTS={REQUESTS}")
    known = operations(server)
    server.metric(HELD)
    descriptors, resident = server.descriptors, server.resident_bytes
    with requests.Session() as session:
        asker = Asker(server, session)
        number = 0
        while asker.left > 0:
            asker.round(known, number)
            number += 1
    held_s = server.metric(HELD)
    memory = f"{resident >> 20} MiB before and {server.resident_bytes >> 20} MiB after"
    print(f"{sum(asker.codes.values())} answers: {dict(asker.codes)}, longest hold {held_s * 1000:.0f} ms, {memory}")
    faults = asker.faults
    assert not faults, f"seed {SEED}, {len(faults)} faults, the first:\n" + "\n".join(faults[:10])
    assert server.descriptors <= descriptors + 2
    assert held_s <= 2 * LONGEST_HOLD_S
