"""The examples of policies can be used, and the reference has every key."""

import json
import re
from pathlib import Path

import attrs
import pytest

from amdcni.core.formats.policies import parse_policy
from amdcni.core.policy import Conditions, Naming, Policy, Verdict
from docs.test_reference import first_cells

DOCS = Path(__file__).parent
PAGES = ("reference/policy.md", "how-to/restrict-lending.md")


def examples(page: str) -> list[str]:
    return re.findall(r"^```json\n(.*?)^```$", (DOCS / page).read_text(), re.M | re.S)


@pytest.mark.parametrize("page", PAGES)
def test_every_example_of_a_policy_can_be_used(page: str) -> None:
    policies = [parse_policy(text.encode()) for text in examples(page)]
    assert len(policies) >= 3
    assert Policy() not in policies


def test_the_example_with_every_key_has_every_key() -> None:
    whole = json.loads(examples("reference/policy.md")[0])
    assert set(whole) == {field.name for field in attrs.fields(Policy)} - {"fault"}
    rules = [rule.get(verdict, {}) for rule in whole["lending"]["rules"] for verdict in Verdict]
    assert set().union(*rules) == {field.name for field in attrs.fields(Conditions)}


def test_every_key_of_a_policy_is_described() -> None:
    described = first_cells("reference/policy.md")
    conditions = {field.name for field in attrs.fields(Conditions)}
    keys = {"folders", "naming", "lending", "lending.rules", "lending.otherwise", "why"}
    assert conditions | keys <= described
    text = (DOCS / "reference/policy.md").read_text()
    assert [value for value in (*Naming, *Verdict) if f"`{value}`" not in text] == []
