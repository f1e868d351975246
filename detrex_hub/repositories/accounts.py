"""The logged-in account, and the owners under which its token can create repositories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from detrex_hub.errors import HubError
from detrex_hub.repositories.client import hub_api
from detrex_hub.repositories.refusals import plainly
from detrex_hub.retrying import patiently

_LOG_IN = "Log in with a token that may write: hf auth login"


class Account(Struct, frozen=True):
    """The owner of the token.

    ``organizations`` maps each organisation of the user to the user's role in it; None if the Hub
    does not state it. ``role`` is the token's: ``write``, ``read`` or ``fineGrained``. ``scopes``
    are the owners for which a fine-grained token has the right to write.
    """

    name: str
    organizations: Mapping[str, str | None]
    role: str | None
    scopes: frozenset[str]

    def check_right_to_create(self, owner: str) -> None:
        """Refuse an owner under whom the token may not create a repository.

        Args:
            owner: a user or an organisation.

        Raises:
            HubError: the token may only read, or only write elsewhere, or the user is not a member.
        """
        if self.role == "read":
            raise HubError(f"the token of {self.name} may only read", hint=_LOG_IN)
        if owner != self.name and owner not in self.organizations:
            known = ", ".join([self.name, *self.organizations])
            raise HubError(
                f"{self.name} is not a member of {owner}, so you cannot push there",
                hint=f"Choose one of these with --namespace: {known}",
            )
        if self.organizations.get(owner) == "read":
            raise HubError(
                f"{self.name} may only read in the organisation {owner}",
                hint="Ask an administrator of it for the role write, or choose another --namespace",
            )
        if self.role == "fineGrained" and owner not in self.scopes:
            raise HubError(
                f"the fine-grained token of {self.name} has no right to write to {owner}",
                hint=_LOG_IN,
            )


def account() -> Account:
    """The account of the token.

    Raises:
        HubError: there is no token, or the Hub does not accept it.
    """
    api = hub_api()
    with plainly(api.endpoint, writing=True):
        said: Mapping[str, Any] = patiently(api.whoami)
        token = said.get("auth", {}).get("accessToken", {})
        return Account(
            name=str(said["name"]),
            organizations={str(one["name"]): one.get("roleInOrg") for one in said.get("orgs", ())},
            role=token.get("role"),
            scopes=frozenset(
                str(scope["entity"]["name"])
                for scope in token.get("fineGrained", {}).get("scoped", ())
                if "repo.write" in scope["permissions"]
            ),
        )
