"""Publish from CI without a stored token: huggingface_hub exchanges the identity of the job."""

from __future__ import annotations

import pytest
from huggingface_hub.utils import _auth

from detrex_hub.redaction import redacted
from tests import tiny
from tests.hub_server.web import Response, Server


class GitHub(Server):
    """The identity service of GitHub Actions for a job with the permission ``id-token: write``."""

    def answer(self, request):
        assert request.token == "request-token"
        return Response.of({"value": f"identity for {request.query['audience']}"})


@pytest.fixture
def publish(cli, hub, tmp_path, monkeypatch):
    """`publish("lab/tiny")` runs in a job of GitHub Actions whose publisher is for that
    repository."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    entries = tiny.catalogue(tmp_path / "tiny.toml")
    hub.create("lab/tiny")
    hub.publishers["lab/tiny"] = f"identity for {hub.url}"
    with GitHub() as github:

        def _publish(resource, *options):
            monkeypatch.setattr(_auth, "_OIDC_TOKEN_CACHE", None)
            return cli(
                *("convert-and-push", "tiny", "--synthetic", "--allow-synthetic"),
                *("--catalogue", entries, *options),
                GITHUB_ACTIONS="true",
                ACTIONS_ID_TOKEN_REQUEST_URL=f"{github.url}/token?api-version=2",
                ACTIONS_ID_TOKEN_REQUEST_TOKEN="request-token",
                HF_OIDC_RESOURCE=resource,
            )

        yield _publish
        assert not github.errors


def test_one_exchange_publishes_one_repository(hub, publish):
    done = publish("lab/tiny", "--namespace", "lab")
    assert done.code == 0, done.err
    assert len(hub.commits("lab/tiny")) == 1
    (asked,) = hub.seen("POST", "/oauth/token")
    assert asked.json()["resource"] == "lab/tiny"
    assert "hf_jwt" not in done.err + done.out and "identity" not in done.err + done.out
    assert redacted("with hf_jwt_abcd.efgh-ijkl_mn there") == "with *** there"
    assert redacted(f"eyJ{'a' * 20}.{'b' * 20}.{'c' * 20}") == "***"
    again = publish("lab/tiny", "--namespace", "lab", "--dry-run", "--json")
    assert again.document[0]["status"] == "unchanged"


def test_a_refused_publisher_gets_one_line(hub, publish):
    hub.create("lab/other")
    for resource, options, said in (
        ("lab/tiny", (), "--namespace OWNER"),
        ("lab/other", ("--namespace", "lab"), "No trusted publisher of lab/other"),
        ("lab/tiny", ("--namespace", "another"), "another/tiny"),
    ):
        done = publish(resource, *options)
        assert done.code in (1, 2)
        (line,) = [line for line in done.err.splitlines() if line.startswith("Error")]
        assert said in line
    assert hub.commits("lab/tiny") == []


def test_a_job_without_the_permission_gets_one_line(cli, hub, tmp_path):
    entries = tiny.catalogue(tmp_path / "tiny.toml")
    for there in ({}, {"GITHUB_ACTIONS": "true"}):
        done = cli(
            *("convert-and-push", "tiny", "--synthetic", "--allow-synthetic"),
            *("--catalogue", entries, "--namespace", "lab"),
            HF_OIDC_RESOURCE="lab/tiny",
            **there,
        )
        assert done.code == 1
        assert "id-token: write" in done.err and "Traceback" not in done.err


def test_the_documented_workflow_is_allowed_to_ask(hub):
    import yaml

    from tests.test_supply_chain import ROOT

    page = (ROOT / "docs/guides/publisher.md").read_text()
    (text,) = [part for part in page.split("```") if part.startswith("yaml")]
    (job,) = yaml.safe_load(text.removeprefix("yaml"))["jobs"].values()
    assert job["permissions"] == {"id-token": "write"}
    assert job["env"]["HF_OIDC_RESOURCE"] == "detrex/${{ matrix.name }}"
    assert job["strategy"]["matrix"]["name"]
    assert "secrets." not in text
