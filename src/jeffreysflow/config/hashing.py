"""Short hashes of settings: equal where all that they are of is equal."""

from __future__ import annotations

import hashlib
import json
from typing import Any

__all__ = ["hash_of"]


def hash_of(content: Any) -> str:
    """Of what JSON holds, whatever the order of keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
