"""Acting as somebody else takes the right to, and lends that one's rights only."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from controlplane.api.authn import AUTHENTICATED, MASTERS, User
from controlplane.api.authz import GroupAuthorizer
from controlplane.api.impersonation import effective_user
from flotilla.api.errors import ApiError

ADMIN = User("admin", (MASTERS, AUTHENTICATED))
ANN = User("ann", ("dev", AUTHENTICATED))


def act(user: User, *headers: tuple[str, str]) -> User:
    return effective_user(user, CIMultiDict(headers), GroupAuthorizer())


def test_without_headers_a_caller_is_itself() -> None:
    """A request that names nobody goes on as its caller."""
    assert act(ANN, ("Accept", "application/json")) is ANN


def test_an_admin_acts_with_the_rights_of_another() -> None:
    """The named user and groups replace the caller's own, masters included; other headers mean nothing here."""
    wanted = (("Impersonate-User", "bob"), ("Impersonate-Group", "dev"), ("Impersonate-Group", "ops"))
    bob = act(ADMIN, ("Host", "flotilla"), *wanted, ("User-Agent", "kubectl"))
    assert bob == User("bob", ("dev", "ops", AUTHENTICATED))


def test_a_service_account_brings_its_groups() -> None:
    """A service account's name implies the groups of all accounts and of its namespace's."""
    account = act(ADMIN, ("Impersonate-User", "system:serviceaccount:shop:cart"))
    assert account.groups == ("system:serviceaccounts", "system:serviceaccounts:shop", AUTHENTICATED)


def test_without_the_right_it_is_forbidden() -> None:
    """Who may not impersonate is refused, by the name of the one wanted."""
    with pytest.raises(ApiError, match='users "bob" is forbidden: User "ann" cannot impersonate') as caught:
        act(ANN, ("Impersonate-User", "bob"))
    assert caught.value.code == 403


@pytest.mark.parametrize("header", [("Impersonate-Group", "ops"), ("Impersonate-Everything", "yes")])
def test_headers_that_make_no_sense_are_refused(header: tuple[str, str]) -> None:
    """Groups without a user, or a header nobody knows, are a 400 and never ignored."""
    headers = [header] if header[0].endswith("Group") else [("Impersonate-User", "bob"), header]
    with pytest.raises(ApiError) as caught:
        act(ADMIN, *headers)
    assert caught.value.code == 400
