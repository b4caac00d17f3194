"""Model fields that Django does not bring."""

from django.db import models
from django.db.models import F


class NumericField(models.DecimalField):
    """PostgreSQL's unbounded `numeric`: money of any currency, exactly as its source wrote it, never padded or rounded."""

    def __init__(self, *args, **kwargs) -> None:
        kwargs |= {"max_digits": 1000, "decimal_places": 500}  # Django wants bounds; the column has none
        super().__init__(*args, **kwargs)

    def deconstruct(self):
        name, path, args, kwargs = super().deconstruct()
        del kwargs["max_digits"], kwargs["decimal_places"]
        return name, path, args, kwargs

    def db_type(self, connection) -> str:
        return "numeric"


class CounterField(models.BigIntegerField):
    """A number that only statements of their own move: saving a row that was read earlier leaves it where it is."""

    def pre_save(self, model_instance, add):
        return super().pre_save(model_instance, add) if add else F(self.attname)
