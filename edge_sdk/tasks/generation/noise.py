"""Seed and picture number to standard normal noise, by arithmetic that every machine does alike. Knows no network.

Philox4x32-10 (Salmon et al. 2011) counts, 52 bits of it make a uniform number, and Wichura's AS241 (1988, PPND16) makes
it normal. numpy promises its generators' raw words across versions, not their normals, so both are written out here.
A value depends on seed, index and place alone: not on batches, their order, or which process asks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadUsage

Words: TypeAlias = NDArray[np.uint64]
"""Words of 32 bits in 64, so that a product of two fits."""

MOST_SEED = 2**64 - 1
MOST_INDEX = 2**64 - 1
NOISE_STREAM = 0
"""The second word of the counter; others are kept for what may be drawn beside the noise."""

_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10

# Coefficients of AS241 from order 0 up: centre, tails, far tails; each a numerator and a denominator.
_CENTRE = (
    (3.3871328727963666080, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125,
     45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727),
    (1.0, 42.313330701600911252, 687.18700749205790830, 5394.1960214247511077,
     21213.794301586595867, 39307.895800092710610, 28729.085735721942674, 5226.4952788528545610),
)  # fmt: skip
_TAIL = (
    (1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550, 3.64784832476320460504,
     1.27045825245236838258, 0.241780725177450611770, 0.0227238449892691845833, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187, 1.67638483018380384940, 0.689767334985100004550,
     0.148103976427480074590, 0.0151986665636164571966, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)  # fmt: skip
_FAR = (
    (6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580, 0.296560571828504891230,
     0.0265321895265761230930, 0.00124266094738807843860, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 0.599832206555887937690, 0.136929880922735805310, 0.0148753612908506148525,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)  # fmt: skip
_CENTRE_ENDS, _TAIL_ENDS = 0.425, 5.0


def noise(seed: int, indices: Sequence[int], shape: Sequence[int]) -> NDArray[np.float32]:
    """Standard normal float32 (len(indices), *shape): picture `indices[i]` of `seed` in row i, in C order.

    seed, indices: 0 .. 2^64 - 1. Raises BadUsage for others.
    """
    size = math.prod(shape)
    rows = [normals(seed, index, size).astype(np.float32).reshape(tuple(shape)) for index in indices]
    return np.stack(rows) if rows else np.empty((0, *shape), np.float32)


def normals(seed: int, index: int, count: int) -> NDArray[np.float64]:
    """The first `count` standard normal numbers of one picture, before they are rounded to float32."""
    _whole("seed", seed, MOST_SEED)
    _whole("index of a picture", index, MOST_INDEX)
    return normal(uniforms(seed, index, count))


def uniforms(seed: int, index: int, count: int) -> NDArray[np.float64]:
    """(count,) in [2^-53, 1 - 2^-53], of 52 bits: with 53, the last of them would round to 1."""
    blocks = np.arange((count + 1) // 2, dtype=np.uint64)
    same = np.ones_like(blocks)
    counter = (blocks, same * np.uint64(NOISE_STREAM), same * np.uint64(index % 2**32), same * np.uint64(index >> 32))
    words = philox(counter, (seed % 2**32, seed >> 32))
    pairs = [
        ((high >> np.uint64(6)).astype(np.float64) * 2.0**26 + (low >> np.uint64(6)).astype(np.float64) + 0.5) / 2.0**52
        for high, low in (words[:2], words[2:])
    ]
    return np.stack(pairs, axis=1).ravel()[:count]


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Philox4x32-10 of each counter: four arrays of 32-bit words."""
    a, b, c, d = counter
    for number in range(_ROUNDS):
        first, second = (np.uint64((part + number * step) % 2**32) for part, step in zip(key, _WEYL, strict=True))
        left, right = _MULTIPLIERS[0] * a, _MULTIPLIERS[1] * c
        a, b, c, d = (right >> _32) ^ b ^ first, right & _LOW, (left >> _32) ^ d ^ second, left & _LOW
    return a, b, c, d


def normal(uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of the normal distribution at `uniform`, 0 < u < 1; 1.8e-15 off at most.

    The centre, 85 % of all numbers, takes + - x / alone and is the same to the last bit wherever float64 is IEEE's.
    """
    q = uniform - 0.5
    out = np.empty_like(q)
    centre = np.abs(q) <= _CENTRE_ENDS
    r = 0.180625 - q[centre] * q[centre]
    out[centre] = q[centre] * _ratio(r, _CENTRE)
    outside = ~centre
    depth = np.sqrt(-np.log(np.minimum(uniform[outside], 1.0 - uniform[outside])))
    near = depth <= _TAIL_ENDS
    size = np.where(near, _ratio(depth - 1.6, _TAIL), _ratio(depth - 5.0, _FAR))
    out[outside] = np.copysign(size, q[outside])
    return out


def _ratio(r: NDArray[np.float64], of: tuple[Sequence[float], Sequence[float]]) -> NDArray[np.float64]:
    above, below = (_polynomial(r, part) for part in of)
    return above / below


def _polynomial(r: NDArray[np.float64], coefficients: Sequence[float]) -> NDArray[np.float64]:
    """By Horner's rule, whose order of operations is part of the answer's last bit."""
    out = np.full_like(r, coefficients[-1])
    for one in coefficients[-2::-1]:
        out = out * r + one
    return out


def _whole(what: str, value: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value <= most:
        raise BadUsage(f"a {what} is a whole number from 0 to {most}, not {value!r}"[:200])
