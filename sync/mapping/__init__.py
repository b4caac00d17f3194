"""Mapping: rules that make a target's fields of canonical records. Pure; `rule_set` checks and compiles, `mapped` runs.

sync/models/mapping.py keeps the rules of a workspace, version by version.
"""

from sync.mapping.applying import applied
from sync.mapping.defaults import DEFAULTS, default_rules
from sync.mapping.errors import Mistake, RulesRefused, Unmet
from sync.mapping.fields import FieldTable, TargetField
from sync.mapping.rules import Failure, Mapped, Outcome, Rule, RuleSet, rule_set
from sync.mapping.tables import ENTITIES, TARGETS, field_table

__all__ = [
    "DEFAULTS",
    "ENTITIES",
    "TARGETS",
    "Failure",
    "FieldTable",
    "Mapped",
    "Mistake",
    "Outcome",
    "Rule",
    "RuleSet",
    "RulesRefused",
    "TargetField",
    "Unmet",
    "applied",
    "default_rules",
    "field_table",
    "rule_set",
]
