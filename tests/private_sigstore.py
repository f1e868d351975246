"""A sigstore of the tests' own, on loopback: a certificate authority, a log of certificates and a
log of signatures.

The library signs and verifies with it as with the public one, so that signatures by an identity are
tested without internet. The routes and documents are those that sigstore's client uses:
https://github.com/sigstore/fulcio/blob/main/fulcio.proto, RFC 6962 for the embedded timestamp of a
certificate, and https://github.com/sigstore/rekor/blob/main/openapi.yaml for the log.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_TIMESTAMPS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
    *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)
_START = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)


class Sigstore:
    """One instance with keys of its own. ``url`` is set while it is served."""

    url = "http://localhost"

    def __init__(self) -> None:
        self._authority, self._certificate_log, self._log = (
            ec.generate_private_key(ec.SECP256R1()) for _ in range(3)
        )
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "private sigstore")])
        public = self._authority.public_key()
        self._root = (
            _certificate(name, name, public, _START, days=36500)
            .add_extension(x509.BasicConstraints(True, None), critical=True)
            .add_extension(_usage("key_cert_sign"), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._authority, hashes.SHA256())
        )

    @contextmanager
    def served(self) -> Iterator[Sigstore]:
        sigstore = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                here = {"authorization_endpoint": sigstore.url, "token_endpoint": sigstore.url}
                self._answer(200, here)

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path == "/api/v2/signingCert":
                    token = self.headers["Authorization"].removeprefix("Bearer ")
                    self._answer(200, sigstore._certified(asked, token))
                else:
                    assert self.path == "/api/v1/log/entries", self.path
                    self._answer(201, sigstore._logged(asked))

            def _answer(self, status: int, document: dict[str, Any]) -> None:
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.url = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            yield self
            server.shutdown()
            thread.join()

    @property
    def trusted_root(self) -> dict[str, Any]:
        """The configuration of a verifier."""
        valid = {"start": _START.isoformat()}
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self._log_instance(self._log)],
            "ctlogs": [self._log_instance(self._certificate_log)],
            "certificateAuthorities": [
                {
                    "subject": {"organization": "tests", "commonName": "private sigstore"},
                    "uri": self.url,
                    "certChain": {"certificates": [{"rawBytes": _base64(_der(self._root))}]},
                    "validFor": valid,
                }
            ],
        }

    @property
    def trust_configuration(self) -> dict[str, Any]:
        """The configuration of a signer."""
        service = {
            "url": self.url,
            "majorApiVersion": 1,
            "operator": "tests",
            "validFor": {"start": _START.isoformat()},
        }
        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": self.trusted_root,
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": [service],
                "oidcUrls": [service],
                "rekorTlogUrls": [service],
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaConfig": {"selector": "ANY"},
            },
        }

    def sign(self, folder: Path, signature: Path, name: str, provider: str) -> None:
        """Sign a folder as an identity, with the library's own signer."""
        from model_signing import hashing, signing

        with tempfile.TemporaryDirectory() as place, self.served():
            trust = Path(place) / "trust.json"
            trust.write_text(json.dumps(self.trust_configuration))
            signing.Config().use_sigstore_signer(
                identity_token=_token(name, provider), trust_config=trust
            ).set_hashing_config(hashing.Config().set_ignored_paths(paths=[signature])).sign(
                folder, signature
            )

    def _log_instance(self, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
        return {
            "baseUrl": self.url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": _base64(_public(key)),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {"start": _START.isoformat()},
            },
            "logId": {"keyId": _base64(_key_id(key))},
        }

    def _certified(self, asked: dict[str, Any], token: str) -> dict[str, Any]:
        """A certificate of a new key for the identity in a token."""
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        request = x509.load_pem_x509_csr(base64.b64decode(asked["certificateSigningRequest"]))
        now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        issuer, who = claims["iss"].encode(), claims["sub"]
        named = x509.UniformResourceIdentifier if "://" in who else x509.RFC822Name
        unlogged = (
            _certificate(x509.Name([]), self._root.subject, request.public_key(), now)
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._authority.public_key()),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName([named(who)]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER, issuer), critical=False)
        )
        logged = unlogged.add_extension(
            x509.UnrecognizedExtension(_TIMESTAMPS, self._timestamps(unlogged, now)),
            critical=False,
        ).sign(self._authority, hashes.SHA256())
        chain = [_pem(logged), _pem(self._root)]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}

    def _timestamps(self, unlogged: x509.CertificateBuilder, now: datetime.datetime) -> bytes:
        """The certificate log's promise, as RFC 6962 embeds it."""
        entry = unlogged.sign(self._authority, hashes.SHA256()).tbs_certificate_bytes
        milliseconds = int(now.timestamp() * 1000)
        signed = struct.pack("!BBQH", 0, 0, milliseconds, 1) + _key_id(self._authority)
        signed += len(entry).to_bytes(3, "big") + entry + b"\0\0"
        signature = _signed(self._certificate_log, signed)
        # version 1; no extensions; SHA-256 and ECDSA
        one = b"\0" + _key_id(self._certificate_log) + struct.pack("!QH", milliseconds, 0)
        one += b"\4\3" + struct.pack("!H", len(signature)) + signature
        listed = struct.pack("!HH", len(one) + 2, len(one)) + one
        return b"\4" + bytes([len(listed)]) + listed

    def _logged(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The entry of a signature, alone in its log."""
        proposed = asked["spec"]["proposedContent"]
        envelope = json.loads(proposed["envelope"])
        payload = base64.b64decode(envelope["payload"])
        made = {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": _sha256(proposed["envelope"].encode()),
                "payloadHash": _sha256(payload),
                "signatures": [
                    {"signature": one["sig"], "verifier": proposed["verifiers"][0]}
                    for one in envelope["signatures"]
                ],
            },
        }
        body = _canonical(made)
        root, identifier = hashlib.sha256(b"\0" + body).digest(), _key_id(self._log)
        note = f"private sigstore\n1\n{_base64(root)}\n"
        stamp = _base64(identifier[:4] + _signed(self._log, note.encode()))
        entry = {
            "body": _base64(body),
            "integratedTime": int(datetime.datetime.now(datetime.timezone.utc).timestamp()),
            "logID": identifier.hex(),
            "logIndex": 0,
        }
        verification = {
            "inclusionProof": {
                "logIndex": 0,
                "treeSize": 1,
                "rootHash": root.hex(),
                "hashes": [],
                "checkpoint": f"{note}\n\N{EM DASH} private {stamp}\n",
            },
            "signedEntryTimestamp": _base64(_signed(self._log, _canonical(entry))),
        }
        return {root.hex(): {**entry, "verification": verification}}


def _token(name: str, provider: str) -> str:
    now = int(datetime.datetime.now(datetime.timezone.utc).timestamp())
    claims = {"iss": provider, "sub": name, "aud": "sigstore", "iat": now, "exp": now + 600}
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(_canonical(one)).rstrip(b"=").decode() for one in parts]
    return ".".join((*encoded, "c2ln"))


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: Any,
    start: datetime.datetime,
    days: float = 0.01,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(
            issuer_name=issuer,
            subject_name=subject,
            public_key=key,
            serial_number=x509.random_serial_number(),
        )
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=days))
    )


def _usage(of: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{one: one == of for one in _USAGES})


def _signed(key: ec.EllipticCurvePrivateKey, content: bytes) -> bytes:
    return key.sign(content, ec.ECDSA(hashes.SHA256()))


def _public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _key_id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(_public(key)).digest()


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _sha256(content: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(content).hexdigest()}


def _canonical(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
