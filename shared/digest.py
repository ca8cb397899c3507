"""The rolling digest of a stream: a short text, the same for two streams only if they delivered the same batches.

    digest 0 = ""        digest k = blake2b(digest k-1 │ step │ payload xxh3 │ valid)

The server keeps one for what it hands out, the client one for what it receives; checkpoints store it. Its text alone is
enough to continue it at any batch.
"""

from __future__ import annotations

import hashlib
import struct

_BATCH = struct.Struct("<QQQ")


def rolled(digest: str, step: int, payload_digest: int, valid: int) -> str:
    """`digest`, 32 hexadecimal digits or "" before the first batch, and one batch more."""
    batch = _BATCH.pack(step, payload_digest, valid)
    return hashlib.blake2b(digest.encode() + batch, digest_size=16).hexdigest()
