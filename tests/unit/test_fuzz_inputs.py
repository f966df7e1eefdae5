"""The inputs of the fuzzer in tests/fuzz: any bytes are a call, and any call can be encoded."""

import json
from random import Random

from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz import inputs
from tests.fuzz.inputs import Input, encode, mutated, parse

SEEDS = [*inputs.seeds(), *inputs.FOUND]


def shuffled(data: bytes, max_size: int) -> bytes:
    """Change bytes as a fuzzer might."""
    return bytes(Random(len(data)).sample(data, len(data)))[:max_size] + b"\xff"


@given(st.binary() | st.sampled_from(SEEDS).map(encode))
@example(b"\0\0\0")
@example(b"CNI_X=\0=\0TIMES=09\0\0{}")
def test_any_bytes_are_a_call_that_can_be_encoded_again(data: bytes) -> None:
    call = parse(data)
    assert parse(encode(call)) == call
    assert set(name[:4] for name in call.environ) <= {"CNI_"}
    assert len(call.configuration) <= inputs.LARGEST_STDIN_BYTES


@given(st.binary() | st.sampled_from(SEEDS).map(encode), st.integers(0, 2**32), st.integers(1, 9))
def test_a_mutated_call_is_a_call_that_fits_the_limit(data: bytes, seed: int, often: int) -> None:
    for _ in range(often):
        data = mutated(data, 4096, seed, shuffled)
        assert parse(encode(parse(data))) == parse(data)
        assert len(data) <= 4097  # One more comes from `shuffled`.


def test_most_mutations_leave_the_rest_of_a_configuration_alone() -> None:
    kept = 0
    for seed in range(100):
        changed = parse(mutated(encode(inputs.called()), 4096, seed, shuffled))
        kept += (changed.json or {}).get("name") == "fabric"
    assert kept > 50


def test_a_repeated_part_makes_the_largest_configuration_from_a_few_bytes() -> None:
    call = inputs.repeated('{"a":[', "[],", "0]}")
    assert len(encode(call)) < 200
    assert 0 <= inputs.LARGEST_STDIN_BYTES - 2 - len(call.configuration) < 3
    assert set(json.loads(call.configuration)) == {"a"}


def test_the_seeds_have_every_verb_in_every_version() -> None:
    def said(call: Input) -> tuple[str | None, object]:
        return call.environ.get("CNI_COMMAND"), (call.json or {}).get("cniVersion")

    seen = {said(call) for call in SEEDS}
    assert seen >= {(verb, version) for verb in inputs.VERBS for version in inputs.VERSIONS}
