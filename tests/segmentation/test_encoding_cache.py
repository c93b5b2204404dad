"""What the cache of encodings keeps and drops: the one used least recently goes first, one too large never comes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.tasks.segmentation.encoding_cache import EncodingCache, Features


def features(size_bytes: int = 4) -> Features:
    return {"features": np.zeros(size_bytes, np.uint8)}


def kept(cache: EncodingCache, keys: str) -> str:
    """Those of `keys` that are kept; asking changes their order."""
    return "".join(key for key in keys if cache.get(key) is not None)


def test_what_was_read_is_used_and_stays() -> None:
    cache = EncodingCache(pictures=2)
    cache.put("a", features())
    cache.put("b", features())
    assert cache.get("a") is not None
    cache.put("c", features())
    assert kept(cache, "abc") == "ac"


def test_what_was_put_again_is_used_and_stays() -> None:
    cache = EncodingCache(pictures=2)
    cache.put("a", features())
    cache.put("b", features())
    cache.put("a", features())
    cache.put("c", features())
    assert kept(cache, "abc") == "ac"


def test_an_encoding_that_alone_is_too_large_is_not_kept_and_drops_nothing() -> None:
    cache = EncodingCache(size_bytes=10)
    cache.put("a", features(4))
    cache.put("b", features(6))
    cache.put("c", features(11))
    assert kept(cache, "abc") == "ab"
    cache.put("a", features(11))  # in the place of what was kept under that name, which it no longer is
    assert kept(cache, "abc") == "b"
    cache.limit(pictures=0, size_bytes=100)
    cache.put("a", features(1))
    assert len(cache) == 0


@given(
    pictures=st.integers(0, 4), size=st.integers(0, 12),
    steps=st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef"), st.integers(0, 14)), max_size=30),
)  # fmt: skip
def test_the_cache_is_a_list_in_order_of_use(pictures: int, size: int, steps: list[tuple[bool, str, int]]) -> None:
    cache, model = EncodingCache(pictures=pictures, size_bytes=size), dict[str, int]()
    for puts, key, size_bytes in steps:
        if puts:
            model.pop(key, None)
            if size_bytes <= size and pictures:
                model[key] = size_bytes
                while sum(model.values()) > size or len(model) > pictures:
                    model.pop(next(iter(model)))
            cache.put(key, features(size_bytes))
        else:
            found = cache.get(key)
            assert (found is not None) == (key in model)
            if found is not None:
                model[key] = model.pop(key)
        assert len(cache) == len(model)
    assert kept(cache, "abcdef") == "".join(sorted(model))
