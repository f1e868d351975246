"""Signatures over a repository's files are made and checked with real keys."""

import base64
import json
import os
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from detrex_hub import catalogue
from detrex_hub.errors import HubError, UsageError, VerificationError
from detrex_hub.repositories import push, signing
from detrex_hub.repositories.fetching import fetch
from detrex_hub.repositories.signers import key_holder
from tests import tiny
from tests.hub_server import Mirror, contents, converted_folder
from tests.private_sigstore import Sigstore


def saved(path, key, password=None):
    protection = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    )
    return path


@pytest.fixture
def pair(tmp_path):
    """`pair("name")` makes a private and a public key."""

    def _pair(name):
        key = ec.generate_private_key(ec.SECP256R1())
        public = tmp_path / f"{name}.pub"
        public.write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        return saved(tmp_path / f"{name}.pem", key), public

    return _pair


FILES = {"model.safetensors": b"weights", "README.md": b"card"}


def test_a_signature_holds_for_its_files_and_its_key_only(pair):
    (private, public), (_, other) = pair("mine"), pair("other")
    made = signing.sign(FILES, "r18", private)
    assert signing.checked_seal(FILES, made, key_holder(public)).files.keys() == FILES.keys()
    for files in (
        {**FILES, "README.md": b"another"},
        {**FILES, "config.json": b"{}"},
        {"README.md": b"card"},
    ):
        with pytest.raises(VerificationError):
            signing.checked_seal(files, made, key_holder(public))
    with pytest.raises(VerificationError):
        signing.checked_seal(FILES, made, key_holder(other))
    for broken in (b"", b"{}", b"[" * 100_000, made[:-200]):
        with pytest.raises(VerificationError, match="no model signature"):
            signing.checked_seal(FILES, broken, key_holder(public))


def rewritten(signature, change):
    """A signature with other resources, as `change` makes them of the ones that it lists."""
    bundle = json.loads(signature)
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    payload["predicate"]["resources"] = change(payload["predicate"]["resources"])
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    return json.dumps(bundle).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda listed: [*listed, {**listed[0], "name": 1}],
        lambda listed: [*listed, {**listed[0], "name": None}],
        lambda listed: [{**one, "digest": [one["digest"]]} for one in listed],
        lambda listed: [{**listed[0], "digest": "0" * 64}, *listed],
        lambda listed: {"name": "README.md"},
    ],
    ids=["a number", "nothing", "a list", "twice", "an object"],
)
def test_a_signature_that_lists_something_else_than_files_is_refused(pair, folder, change):
    private, public = pair("mine")
    broken = rewritten(signing.sign(FILES, "r18", private), change)
    with pytest.raises(VerificationError, match="no model signature"):
        signing.checked_seal(FILES, broken, key_holder(public))
    (folder / "model.sig").write_bytes(broken)
    with pytest.raises(HubError, match="no model signature"):
        push(folder, "alice/r18", to=folder.parent / "hub")


def test_a_changed_list_of_files_is_refused_with_a_reason(pair):
    private, public = pair("mine")
    made = signing.sign(FILES, "r18", private)
    changed = rewritten(made, lambda listed: [{**one, "digest": "0" * 64} for one in listed])
    with pytest.raises(VerificationError, match=r"another key, or changed afterwards$"):
        signing.checked_seal(FILES, changed, key_holder(public))


def test_a_key_that_cannot_check_is_named(pair, tmp_path):
    private, public = pair("mine")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(public.read_bytes() * 1000)
    for path, why in (
        (tmp_path / "none.pub", "cannot be read: No such file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / "large", "larger than"),
        (private, "no elliptic-curve public key in PEM. Make it from the private key"),
    ):
        with pytest.raises(UsageError, match=why):
            key_holder(path)


def test_a_key_that_cannot_sign_is_named(tmp_path):
    curve = ec.generate_private_key(ec.SECP256R1())
    text = tmp_path / "text.pem"
    text.write_text("no key")
    for path, why in (
        (tmp_path / "none.pem", "cannot be read"),
        (text, "is no private key"),
        (saved(tmp_path / "locked.pem", curve, b"secret"), "has a password"),
        (saved(tmp_path / "rsa.pem", rsa.generate_private_key(65537, 2048)), "no elliptic-curve"),
    ):
        with pytest.raises(UsageError, match=why):
            signing.key_of(path)


def test_a_missing_library_is_noticed_before_any_work(hub, login, cli, pair, monkeypatch):
    login("alice")
    monkeypatch.setitem(sys.modules, "model_signing.signing", None)
    options = ("--synthetic", "--allow-synthetic", "--sign-key", pair("lost")[0])
    refused = cli("convert-and-push", "r18_v1", *options)
    assert refused.code == 2
    assert "pip install 'detrex-hub[sign]'" in refused.err
    assert "converting" not in refused.err


def test_a_push_can_be_signed(hub, login, folder, pair):
    login("alice")
    private, public = pair("mine")
    push(folder, "alice/r18", sign_key=private)
    names = ["model.safetensors", "config.json", "conversion.json", "README.md"]
    found = fetch("alice/r18", [*names, "model.sig"])
    files = {name: found.files[name] for name in names}
    signing.checked_seal(files, found.files["model.sig"].read_bytes(), key_holder(public))
    # the model-signing library accepts the Hub's files, together with the Hub's own ones
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "model_signing", "verify", "key", found.folder),
            *("--signature", found.folder / "model.sig", "--public_key", public),
            "--allow_symlinks",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr

    # a signature of the same files with the same key is kept
    assert push(folder, "alice/r18", sign_key=private).changed == ()
    assert push(folder, "alice/r18").changed == ()
    another, _ = pair("another")
    assert push(folder, "alice/r18", sign_key=another).changed == ("model.sig",)
    # a push never leaves a signature of other files
    changed = converted_folder(folder, b"other weights")
    with pytest.raises(HubError, match="--sign-key"):
        push(changed, "alice/r18")
    assert "model.sig" in push(changed, "alice/r18", sign_key=private).changed


def test_a_folder_can_be_signed(folder, pair, tmp_path):
    private, public = pair("mine")
    push(folder, "alice/r18", to=tmp_path / "hub", sign_key=private)
    assert push(folder, "alice/r18", to=tmp_path / "hub", sign_key=private).changed == ()
    with pytest.raises(HubError, match="--sign-key"):
        push(converted_folder(folder, b"other"), "alice/r18", to=tmp_path / "hub")
    assert public.is_file()


@pytest.mark.parametrize("to", [(), ("--to", "hub")])
def test_signed_weights_are_unchanged_and_verified(hub, login, cli, pair, tmp_path, to):
    login("alice")
    private, public = pair("mine")
    _, other = pair("other")
    entries = tiny.catalogue(tmp_path / "tiny.toml")
    command = ("convert-and-push", "tiny", "--synthetic", "--catalogue", entries, *to)
    command = (*command, *(() if to else ("--allow-synthetic",)))
    assert cli(*command, "--sign-key", private).code == 0
    again = cli(*command, "--sign-key", private, "--dry-run", "--json")
    assert again.document[0]["status"] == "unchanged"
    unsigned = cli(*command)
    assert unsigned.code == 0, "nothing changes, so that nothing is unsigned"
    where = "hub/detrex/tiny" if to else "alice/tiny"
    verify = ("verify", where, "--no-source", "--catalogue", entries)
    assert "its signature was not checked" in cli(*verify).out
    right = cli(*verify, "--public-key", public)
    assert right.code == 0 and "files are signed" in right.out
    assert "not the signature" in cli(*verify, "--public-key", other).err
    assert catalogue.look_up("tiny") is None


def test_an_unsigned_repository_does_not_pass_as_signed(hub, login, cli, folder, pair, tmp_path):
    entries = tiny.catalogue(tmp_path / "tiny.toml")
    options = ("--synthetic", "--catalogue", entries, "--to", "hub", "-q")
    assert cli("convert-and-push", "tiny", *options).code == 0
    verify = ("verify", "hub/detrex/tiny", "--no-source", "--catalogue", entries)
    assert "signature" not in cli(*verify).out
    refused = cli(*verify, "--public-key", pair("mine")[1])
    assert refused.code == 1 and "has no model.sig" in refused.err


def test_an_identity_that_signed_is_verified(hub, login, cli, tmp_path):
    login("alice")
    entries = tiny.catalogue(tmp_path / "tiny.toml")
    options = ("--synthetic", "--catalogue", entries, "--to", "hub", "--namespace", "alice", "-q")
    assert cli("convert-and-push", "tiny", *options).code == 0
    folder, sigstore = tmp_path / "here/hub/alice/tiny", Sigstore()
    sigstore.sign(folder, folder / "model.sig", "alice@example.com", "https://id.example.com")
    root = tmp_path / "root.json"
    root.write_text(json.dumps(sigstore.trusted_root))

    # the signature goes with its files, and with no others
    push_it = ("push", folder, "--allow-synthetic")
    assert "model.sig" in cli(*push_it, "alice/tiny").out
    assert cli(*push_it, "alice/tiny", "--json").document["changed"] == []

    verify = ("verify", "alice/tiny", "--no-source", "--catalogue", entries)
    assert "Check it: --identity WHO" in cli(*verify).out
    by = ("--identity-provider", "https://id.example.com", "--trust-config", root)
    right = cli(*verify, "--identity", "alice@example.com", *by)
    assert right.code == 0
    assert "4 files are signed by alice@example.com at https://id.example.com" in right.out
    wrong = cli(*verify, "--identity", "bob@example.com", *by)
    assert wrong.code == 1 and len(wrong.err.splitlines()) == 1
    assert cli(*verify, "--identity", "alice@example.com").code == 2

    with (folder / "README.md").open("a") as card:
        card.write("More about these weights.\n")
    changed = cli(*push_it, "alice/tiny")
    assert changed.code == 1 and "which differ in README.md. Remove it, or sign" in changed.err


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed by an identity"])
def test_a_missing_signature_is_noticed_before_the_weights_are_downloaded(
    hub, cli, folder, pair, signed
):
    files = contents(folder)
    if signed:
        Sigstore().sign(folder, folder / "model.sig", "alice@example.com", "https://id.example.com")
        files["model.sig"] = (folder / "model.sig").read_bytes()
    hub.put("alice/r18", files)
    refused = cli("verify", "alice/r18", "--public-key", pair("mine")[1])
    assert refused.code == 1
    assert ("not with a key" if signed else "has no model.sig") in refused.err
    assert hub.seen("*", "*/model.sig")
    assert not hub.seen("*", "*/model.safetensors")


def test_no_name_is_converted_for_a_signature_to_be_checked(hub, cli, pair, tmp_path):
    content = tiny.original(tmp_path / "tiny.pth").read_bytes()
    with Mirror() as mirror:
        entries = tiny.catalogue(tmp_path / "tiny.toml", mirror.add("tiny.pth", content), content)
        refused = cli("verify", "tiny", "--catalogue", entries, "--public-key", pair("mine")[1])
        assert mirror.log == []
    assert refused.code == 1
    assert "conversion has no signature" in refused.err


@pytest.fixture
def signed_folder(folder, pair, tmp_path):
    """A folder that was signed with a key as `convert` wrote it, and the key."""
    private, _ = pair("mine")
    files = contents(folder)
    (folder / "model.sig").write_bytes(signing.sign(files, "r18", private))
    return folder, private


@pytest.mark.parametrize("to", [(), ("--to", "hub")])
def test_a_signature_for_another_name_is_refused_with_the_reason(
    hub, login, cli, signed_folder, to
):
    login("alice")
    folder, private = signed_folder
    refused = cli("push", folder, "alice/r18", *to)
    assert refused.code == 1
    assert f"writes the name alice/r18 into {folder}/README.md" in refused.err
    command = (
        f"detrex-hub push {folder} alice/r18{' --to hub' if to else ''} --sign-key PRIVATE_KEY"
    )
    assert refused.err.rstrip().endswith(command)
    pasted = command.replace("PRIVATE_KEY", str(private)).split()[1:]
    assert cli(*pasted).code == 0


def test_a_signature_without_the_licence_is_refused_with_the_reason(hub, login, cli, folder, pair):
    login("detrex")
    card = folder / "README.md"
    card.write_text(card.read_text().replace("license: bsd-3-clause\n", ""))
    (folder / "model.sig").write_bytes(signing.sign(contents(folder), "r18", pair("mine")[0]))
    refused = cli("push", folder, "detrex/r18", "--license", "bsd-3-clause")
    assert refused.code == 1
    assert f"writes the licence into {card}" in refused.err


def test_a_signature_of_an_identity_for_another_name_is_refused_with_the_reason(
    hub, login, cli, tmp_path
):
    login("alice")
    entries = tiny.catalogue(tmp_path / "tiny.toml")
    folder, sigstore = tmp_path / "here" / "tiny", Sigstore()
    assert cli("convert", "tiny", "--synthetic", "--catalogue", entries).code == 0
    who = ("alice@example.com", "https://id.example.com")
    sigstore.sign(folder, folder / "model.sig", *who)
    push_it = ("push", "tiny", "alice/tiny", "--to", "hub", "--catalogue", entries)
    refused = cli(*push_it)
    assert refused.code == 1
    command = "detrex-hub card ./tiny --repo alice/tiny > tiny/README.md"
    assert refused.err.rstrip().endswith(command)
    card = cli("card", "./tiny", "--repo", "alice/tiny").out
    (folder / "README.md").write_text(card)
    sigstore.sign(folder, folder / "model.sig", *who)
    assert cli(*push_it).code == 0
