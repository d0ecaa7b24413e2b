import json
import math

import torch

from jeffreysflow.device_streams import DeviceStream
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


def on_a_device(*address: str) -> DeviceStream:
    """A stream as of a GPU, by torch's generator on the CPU."""
    return DeviceStream(derived_seed(5, *address), torch.device("cpu"))


def test_a_device_has_the_numbers_of_its_address() -> None:
    for draw in (
        lambda stream: stream.normal(9, dtype=torch.float32),
        lambda stream: stream.uniform(9, dtype=torch.float64),
        lambda stream: stream.student(3.0, 9, dtype=torch.float64),
    ):
        first = draw(on_a_device("a"))
        assert torch.equal(first, draw(on_a_device("a")))
        assert not torch.equal(first, draw(on_a_device("b")))


def test_a_device_continues_from_a_snapshot() -> None:
    stream = on_a_device("tile")
    stream.normal(7, dtype=torch.float32)
    snapshot = json.loads(json.dumps(stream.state))
    expected = [stream.normal(5, dtype=torch.float64), stream.student(3.0, 5, dtype=torch.float64)]
    resumed = on_a_device("anything")
    resumed.state = snapshot
    found = [resumed.normal(5, dtype=torch.float64), resumed.student(3.0, 5, dtype=torch.float64)]
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_students_numbers_of_a_device_have_the_right_law() -> None:
    n, dof = 200_000, 5.0
    t = on_a_device("law").student(dof, n, dtype=torch.float64)
    # the fourth moment exists: var(t^2) = 3 nu^2 / ((nu - 2)(nu - 4)) - (nu / (nu - 2))^2
    variance = dof / (dof - 2)
    spread = 3 * dof**2 / ((dof - 2) * (dof - 4)) - variance**2
    assert abs(float(t.square().mean()) - variance) < 4.5 * math.sqrt(spread / n)
    inside = float((t.abs() < 2.570582).double().mean())
    assert abs(inside - 0.95) < 4.5 * math.sqrt(0.95 * 0.05 / n)


def test_one_stream_keeps_the_state_of_both_sides() -> None:
    stream = Stream(3, "both")
    stream._elsewhere = on_a_device("both")
    snapshot = json.loads(json.dumps(stream.state))
    resumed = Stream(0, "anything")
    resumed.state = snapshot
    assert torch.equal(resumed.normal(4), stream.normal(4))
    assert resumed._elsewhere is not None
    expected = stream._elsewhere.normal(4, dtype=torch.float64)
    assert torch.equal(resumed._elsewhere.normal(4, dtype=torch.float64), expected)
    resumed.state = Stream(3, "both").state
    assert resumed._elsewhere is None
