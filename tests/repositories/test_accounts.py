"""A token may create repositories only under some owners."""

import pytest

from detrex_hub.errors import HubError
from detrex_hub.repositories.accounts import Account, account


def of(role="write", scopes=(), **organizations):
    return Account("alice", organizations, role, frozenset(scopes))


def test_a_token_may_create_repositories_of_its_owners(hub, login):
    login("alice", organizations=("lab",))
    found = account()
    assert (found.name, set(found.organizations), found.role) == ("alice", {"lab"}, "write")
    for owner in ("alice", "lab"):
        found.check_right_to_create(owner)
    of(lab="contributor").check_right_to_create("lab")
    of("fineGrained", ["lab"], lab="write").check_right_to_create("lab")


@pytest.mark.parametrize(
    ("who", "owner", "why"),
    [
        (of("read"), "alice", "may only read"),
        (of(), "lab", "not a member of lab"),
        (of(lab="read"), "lab", "may only read in the organisation lab"),
        (of("fineGrained", ["alice"], lab="write"), "lab", "no right to write to lab"),
    ],
)
def test_a_token_without_the_right_is_refused(who, owner, why):
    with pytest.raises(HubError, match=why):
        who.check_right_to_create(owner)


def test_a_fine_grained_token_writes_only_in_its_scopes(hub, login, monkeypatch):
    login("alice")
    scoped = [
        {"entity": {"type": "org", "name": "lab"}, "permissions": ["repo.content.read"]},
        {"entity": {"type": "user", "name": "alice"}, "permissions": ["repo.write"]},
    ]
    token = {"role": "fineGrained", "fineGrained": {"scoped": scoped}}
    said = {"name": "alice", "orgs": [{"name": "lab"}], "auth": {"accessToken": token}}
    monkeypatch.setattr("huggingface_hub.HfApi.whoami", lambda self: said)
    assert account().scopes == {"alice"}
