"""What groups of users may do, until roles decide it."""

from __future__ import annotations

import pytest

from controlplane.api.authn import ANONYMOUS, AUTHENTICATED, MASTERS, User
from controlplane.api.authz import MONITORING, GroupAuthorizer
from controlplane.api.request_info import RequestInfo, read_request

ANN = User("ann", (AUTHENTICATED,))
NOBODY = User("nobody", ())
PODS = read_request("GET", "/api/v1/pods", watch=False)


@pytest.mark.parametrize("path", ["/healthz", "/livez/ping", "/readyz", "/version"])
def test_strangers_may_see_how_the_server_is(path: str) -> None:
    """To read, and nothing else."""
    assert GroupAuthorizer().allows(ANONYMOUS, read_request("GET", path, watch=False))
    for method, other in (("POST", path), ("GET", "/api"), ("GET", "/metrics"), ("GET", "/api/v1/pods")):
        assert not GroupAuthorizer().allows(ANONYMOUS, read_request(method, other, watch=False))


@pytest.mark.parametrize("path", ["/api", "/apis/apps/v1", "/version", "/openapi/v3/api/v1", "/readyz/etcd"])
def test_everybody_known_may_discover(path: str) -> None:
    """Clients ask what is served before anything else, so each authenticated user must get an answer, others none."""
    authorizer = GroupAuthorizer()
    assert authorizer.allows(ANN, read_request("GET", path, watch=False))
    assert not authorizer.allows(NOBODY, read_request("GET", path, watch=False))
    assert not authorizer.allows(ANN, read_request("POST", path, watch=False))


@pytest.mark.parametrize("path", ["/metrics", "/apiserver", "/", "/versions"])
def test_other_paths_are_closed(path: str) -> None:
    """A path that only begins like one of discovery's must stay closed."""
    assert not GroupAuthorizer().allows(ANN, RequestInfo(path, "get"))


def test_objects_need_a_group() -> None:
    """Being known gives no right to objects; masters may do all, monitoring may read what it needs."""
    authorizer = GroupAuthorizer()
    assert not authorizer.allows(ANN, PODS)
    assert authorizer.allows(User("root", (MASTERS,)), PODS)
    assert authorizer.allows(User("prometheus", (MONITORING,)), PODS)


def test_rules_say_what_is_allowed() -> None:
    """What a user is told must be what is decided: paths of discovery, and reviews."""
    rules = GroupAuthorizer().rules(ANN)
    assert any("/api/*" in rule.paths and rule.verbs == ("get",) for rule in rules)
    assert any("selfsubjectreviews" in rule.resources for rule in rules)
