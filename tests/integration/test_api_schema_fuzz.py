"""Schemathesis on the published OpenAPI: what the document allows, and what it does not, gets a Status and no failure.

``FLOTILLA_FUZZ_REQUESTS`` is how many requests (200 by default, to some of the operations), ``FLOTILLA_FUZZ_SEED``
repeats a run. Watches are left out, because they last; bodies against the schema are made for few requests only,
because making them takes longest.
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


def test_the_published_document(server: ApiProcess) -> None:
    """Every operation, with parameters and bodies that fit and some that do not: no 5xx, no hang, nothing left open."""
    print(f"FLOTILLA_FUZZ_SEED={SEED} FLOTILLA_FUZZ_REQUESTS={REQUESTS}")
    chance = random.Random(SEED)
    known = operations(server)
    chance.shuffle(known)
    each = max(FEWEST_EACH, REQUESTS // len(known))
    codes: Counter[int] = Counter()
    faults: list[str] = []
    server.metric(HELD)
    before = server.descriptors
    with requests.Session() as session:
        for operation in known:
            left = min(each, REQUESTS - sum(codes.values()))
            if left <= 0:
                break
            against = operation.method.upper() not in ("POST", "PUT") or chance.random() < 0.05
            modes = [GenerationMode.NEGATIVE, GenerationMode.POSITIVE] if against else [GenerationMode.POSITIVE]
            for mode in modes:
                examples = max(1, left // len(modes))

                @hypothesis.seed(SEED)
                @settings(GENERATION, max_examples=examples)
                @given(case=operation.as_strategy(generation_mode=mode))
                def ask(case: Any) -> None:
                    fault = fault_of(case, server, session, codes)
                    if fault:
                        faults.append(f"{fault}: {case.as_curl_command()[:2000]}")

                with suppress(Unsatisfiable):  # an operation without parameters has nothing to be against
                    ask()
    held_s = server.metric(HELD)
    print(f"answers: {dict(codes)}, longest hold {held_s * 1000:.0f} ms")
    assert not faults, f"seed {SEED}, {len(faults)} faults, the first:\n" + "\n".join(faults[:10])
    assert server.descriptors <= before + 2
    assert held_s <= 2 * LONGEST_HOLD_S
