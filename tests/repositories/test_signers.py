"""Signatures by identities, made and checked by the real libraries with a private sigstore."""

import json
import sys

import pytest

from detrex_hub.errors import HubError, UsageError, VerificationError
from detrex_hub.repositories import signers, signing

WHO, PROVIDER = "alice@example.com", "https://accounts.example.com"
FILES = {"model.safetensors": b"weights", "README.md": b"card"}


@pytest.fixture(scope="module")
def sigstore():
    pytest.importorskip("model_signing")
    from tests.private_sigstore import Sigstore

    return Sigstore()


@pytest.fixture(scope="module")
def signature(sigstore, tmp_path_factory):
    """The content of a `model.sig` over `FILES`."""
    folder = tmp_path_factory.mktemp("signed")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    sigstore.sign(folder, folder / "model.sig", WHO, PROVIDER)
    return (folder / "model.sig").read_bytes()


@pytest.fixture
def root(sigstore, tmp_path):
    """`root(tlogs=[])` writes the trusted root with other parts."""

    def _root(**parts):
        path = tmp_path / "trusted_root.json"
        path.write_text(json.dumps({**sigstore.trusted_root, **parts}))
        return path

    return _root


def test_an_identity_has_signed(sigstore, signature, root, tmp_path):
    seal = signing.checked_seal(FILES, signature, signers.identity(WHO, PROVIDER, root()))
    assert seal.files.keys() == FILES.keys() and seal.key is None
    whole = tmp_path / "trust_config.json"
    whole.write_text(json.dumps(sigstore.trust_configuration))
    signing.checked_seal(FILES, signature, signers.identity(WHO, PROVIDER, whole))


def test_a_workflow_has_signed(sigstore, root, tmp_path):
    workflow = "https://github.com/lab/weights/.github/workflows/publish.yml@refs/heads/main"
    folder = tmp_path / "signed"
    folder.mkdir()
    (folder / "README.md").write_bytes(b"card")
    sigstore.sign(folder, folder / "model.sig", workflow, PROVIDER)
    made = (folder / "model.sig").read_bytes()
    files = {"README.md": b"card"}
    signing.checked_seal(files, made, signers.identity(workflow, PROVIDER, root()))
    branch = workflow.replace("main", "other")
    with pytest.raises(VerificationError, match="do not match"):
        signing.checked_seal(files, made, signers.identity(branch, PROVIDER, root()))


@pytest.mark.parametrize(
    "who, provider, files, why",
    [
        ("bob@example.com", PROVIDER, FILES, "do not match bob@example.com"),
        (WHO, "https://elsewhere.example.com", FILES, "does not match"),
        (WHO, PROVIDER, {**FILES, "README.md": b"other"}, "README.md changed after the signature"),
        (WHO, PROVIDER, {**FILES, "config.json": b"{}"}, "covers README.md, model.safetensors"),
        (WHO, PROVIDER, {"README.md": b"card"}, "covers README.md, model.safetensors"),
    ],
)
def test_another_identity_or_file_is_refused(signature, root, who, provider, files, why):
    with pytest.raises(VerificationError, match=why) as refused:
        signing.checked_seal(files, signature, signers.identity(who, provider, root()))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "part, why",
    [
        ("certificateAuthorities", "no trusted authority made its certificate"),
        ("ctlogs", "failed to verify SCT"),
        ("tlogs", "invalid log entry"),
    ],
)
def test_every_part_of_another_root_is_refused(sigstore, signature, root, part, why):
    other = type(sigstore)().trusted_root
    with pytest.raises(VerificationError, match=why):
        signing.checked_seal(
            FILES, signature, signers.identity(WHO, PROVIDER, root(**{part: other[part]}))
        )


def test_a_changed_signature_is_refused(signature, root):
    signer = signers.identity(WHO, PROVIDER, root())
    bundle = json.loads(signature)
    del bundle["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"]
    for broken, why in (
        (signature[:-200], "no model signature"),
        (json.dumps(bundle).encode(), "inclusion promise"),
        (signature.replace(b'"payloadType":"', b'"payloadType":"x'), "not the signature"),
    ):
        with pytest.raises(VerificationError, match=why):
            signing.checked_seal(FILES, broken, signer)


def test_a_key_is_no_identity(sigstore, signature, root, tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    public.write_bytes(
        key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(VerificationError, match="Try: --identity WHO --identity-provider URL"):
        signing.checked_seal(FILES, signature, signers.key_holder(public))
    by_key = signing.sign(FILES, "r18", private)
    with pytest.raises(VerificationError, match="Try: --public-key KEY"):
        signing.checked_seal(FILES, by_key, signers.identity(WHO, PROVIDER, root()))


@pytest.mark.parametrize(
    "options, why",
    [
        ((None, WHO, None, None), "--identity needs --identity-provider"),
        ((None, None, PROVIDER, None), "--identity-provider needs --identity"),
        ((None, None, None, "root.json"), "--trust-config needs --identity"),
        (("key.pub", None, None, "root.json"), "--trust-config needs --identity"),
        (("key.pub", WHO, PROVIDER, None), "cannot be combined"),
    ],
)
def test_half_a_signer_is_refused(options, why):
    with pytest.raises(UsageError, match=why):
        signers.expected_signer(*options)
    assert signers.expected_signer(None, None, None, None) is None


def test_a_wrong_trust_configuration_is_named(sigstore, root, tmp_path):
    path = tmp_path / "trust.json"
    for content, why in (
        (None, "cannot be read: No such file"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"{}", "no JSON document with a mediaType"),
        (b'{"mediaType": "text/plain"}', "its mediaType is text/plain"),
        (b" " * (2**20 + 1), "larger"),
        (root(tlogs=[]).read_bytes(), "no transparency log"),
        (root(certificateAuthorities=[]).read_bytes(), "certificates not found"),
        (root(ctlogs="none").read_bytes(), "ctlogs"),
    ):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UsageError, match=why) as refused:
            signers.identity(WHO, PROVIDER, path)
        assert "\n" not in str(refused.value) and str(path) in str(refused.value)


def test_without_internet_a_trusted_root_is_asked_for(sigstore, monkeypatch):
    from sigstore.errors import TUFError
    from sigstore.models import ClientTrustConfig

    def unreachable():
        raise TUFError("Failed to refresh TUF metadata")

    monkeypatch.setattr(ClientTrustConfig, "production", unreachable)
    with pytest.raises(HubError, match=r"could not be downloaded.*--trust-config"):
        signers.identity(WHO, PROVIDER)


def test_the_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "model_signing.verifying", None)
    with pytest.raises(UsageError, match=r"pip install 'detrex-hub\[sign\]'"):
        signers.identity(WHO, PROVIDER)
