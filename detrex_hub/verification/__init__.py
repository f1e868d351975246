"""Prove a repository's claims: its records from the files alone, its weights from the original.

You need not trust a publisher. If the original can be downloaded, the conversion is repeated here,
and the bytes of both results are compared.
"""

from detrex_hub.verification.claims import Proven
from detrex_hub.verification.whole import Verification, verify

__all__ = [
    "Proven",
    "Verification",
    "verify",
]
