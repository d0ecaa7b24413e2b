import json
import math

import torch

from jeffreysflow.streams import Stream, derived_seed


def test_same_address_same_numbers_other_address_other_numbers() -> None:
    draws = {
        key: Stream(*key).normal(50)
        for key in [(1, "a", 0), (1, "a", 1), (2, "a", 0), (1, "b", 0), (1 + 2**32, "a", 0)]
    }
    assert torch.equal(draws[1, "a", 0], Stream(1, "a", 0).normal(50))
    values = list(draws.values())
    for i, one in enumerate(values):
        for other in values[i + 1 :]:
            assert not torch.equal(one, other)


def test_addresses_do_not_run_together() -> None:
    assert derived_seed(1, "a", "bc") != derived_seed(1, "ab", "c")
    assert derived_seed(1, "a", 11) != derived_seed(1, "a", 1, 1)


def test_state_survives_json_and_continues_exactly() -> None:
    stream = Stream(3, "tile", 4)
    stream.normal(7, dtype=torch.float32)
    snapshot = json.loads(json.dumps(stream.state))
    expected = [stream.normal(5), stream.uniform(5), stream.permutation(9)]
    resumed = Stream(0, "anything")
    resumed.state = snapshot
    found = [resumed.normal(5), resumed.uniform(5), resumed.permutation(9)]
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_normal_and_uniform_have_the_right_moments() -> None:
    n = 200_000
    z, u = Stream(1, "moments").normal(n), Stream(2, "moments").uniform(n)
    assert abs(float(z.mean())) < 4.5 / math.sqrt(n)
    assert abs(float(z.square().mean()) - 1) < 4.5 * math.sqrt(2 / n)
    assert abs(float(u.mean()) - 0.5) < 4.5 * math.sqrt(1 / 12 / n)
