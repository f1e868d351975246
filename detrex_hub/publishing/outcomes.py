"""The forecast for a name, and its result."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct

from detrex_hub.errors import DetrexHubError
from detrex_hub.repositories import PushResult

Status: TypeAlias = Literal["new", "changed", "unchanged", "refused", "failed"]
"""``refused`` before any work, ``failed`` during it."""


class Forecast(Struct, frozen=True, kw_only=True):
    """The expected result of publishing a name.

    ``name`` is the catalogue's. ``url`` is the page or the path of the repository; it is None if
    the name is refused before the repository is known. ``size`` is the size of the original in
    bytes, or of the seeded numbers; it is 0 if nothing is downloaded or the size is not known.
    ``license`` is that of the weights, if it is known. ``why`` says what changes.
    """

    name: str
    status: Status
    repo_id: str | None = None
    url: str | None = None
    size: int = 0
    license: str | None = None
    why: str | None = None
    refusal: DetrexHubError | None = None

    @property
    def is_work(self) -> bool:
        """Whether there is work to do."""
        return self.status in ("new", "changed")

    @property
    def reason(self) -> str | None:
        """The reason for a change or a refusal."""
        return str(self.refusal) if self.refusal is not None else self.why

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "status": self.status,
            "url": self.url,
            "size": self.size,
            "reason": self.reason,
        }


class Published(Struct, frozen=True, kw_only=True):
    """The outcome of one name.

    ``url`` is the page or the path of its repository, ``error`` says why it was refused or failed.
    ``result`` is None if another machine did the work. ``seconds`` is the duration.
    """

    name: str
    status: Status
    url: str | None = None
    result: PushResult | None = None
    error: DetrexHubError | None = None
    seconds: float = 0.0

    @classmethod
    def of(cls, name: str, result: PushResult, seconds: float) -> Published:
        """The outcome of a push."""
        status: Status = "new" if result.created else "changed"
        return cls(
            name=name,
            status=status if result.changed else "unchanged",
            url=result.url,
            result=result,
            seconds=seconds,
        )

    @classmethod
    def without_work(cls, forecast: Forecast) -> Published:
        """The outcome of a name that is unchanged or refused."""
        if forecast.refusal is not None:
            return cls(name=forecast.name, status="refused", error=forecast.refusal)
        assert forecast.repo_id is not None
        assert forecast.url is not None
        result = PushResult(
            repo_id=forecast.repo_id,
            url=forecast.url,
            commit=None,
            changed=(),
            created=False,
            dry_run=False,
            license=forecast.license,
        )
        return cls(name=forecast.name, status="unchanged", url=result.url, result=result)

    def to_json(self) -> dict[str, Any]:
        row = {"name": self.name, "status": self.status, "seconds": round(self.seconds, 1)}
        if self.error is not None:
            return {**row, "error": str(self.error)}
        return {**row, "url": self.url, **(self.result.to_json() if self.result else {})}
