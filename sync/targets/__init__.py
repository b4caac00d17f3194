"""Canonical records as their targets want them: one module a target, pure functions record → TargetRecord."""
