"""Random samples of rows that people judge: the same rows for the same seed, a small one the start of a larger one."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt


def review_order(example_ids: Iterable[str], seed: int) -> npt.NDArray[np.int64]:
    """(N,) int64: positions of the ids in a random-looking order that only ids and seed decide.

    The first n of the order are a simple random sample without replacement, and the start of every larger one. Among
    fewer ids the rest keeps its order: it is a sort by keyed hashes (blake2b of seed and id), ids that are
    equal stay in their order.
    """
    base = blake2b(str(seed).encode(), digest_size=8, person=b"labelaudit view")
    digests = []
    for example_id in example_ids:
        hasher = base.copy()
        hasher.update(b"\0" + example_id.encode())
        digests.append(hasher.digest())
    order: npt.NDArray[np.int64] = np.argsort(np.frombuffer(b"".join(digests), dtype=">u8"), kind="stable")
    return order
