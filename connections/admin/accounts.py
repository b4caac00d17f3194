"""Bank accounts, and how Plaid names them."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from config import console
from config.admin import AutocompleteSelectFilter, Card, ChoicesDropdownFilter, Header, ReadOnlyAdmin
from config.states import ACCOUNT, state
from connections.models import Account, PlaidItemAccount


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    """Accounts as their bank describes them."""

    id_lookups = ("pk", "connection_id")
    chip_field, chip_words = "status", ACCOUNT
    list_display = ("shown_name", "shown_state", "balance", "balances_at_ago", "subtype", "connection_name")
    list_select_related = ("connection",)
    list_filter = (("status", ChoicesDropdownFilter), ("connection", AutocompleteSelectFilter))
    search_fields = (
        "name",
        "official_name",
        "mask__exact",
        "item_accounts__plaid_account_id__exact",
        "connection__name",
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "name",
                    "official_name",
                    "mask",
                    "type",
                    "subtype",
                    "connection",
                    "workspace",
                    "id_whole",
                    "persistent_id_whole",
                )
            },
        ),
        ("Balances", {"fields": ("balance", "available", "limit", "balances_at_exact")}),
        ("Times", {"fields": ("created_at_exact", "updated_at_exact")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).select_related("connection", "workspace")

    def header(self, account: Account) -> Header:
        cards = (
            Card("Balance", console.money(account.balance_current, account.currency)),
            Card("Available", console.money(account.balance_available, account.currency)),
            Card("As of", console.moment(account.balances_at)),
            Card(
                "Transactions", console.link(console.to_list("sync.transaction", account__id__exact=account.pk), "Show")
            ),
        )
        return Header(console.name(account), state(ACCOUNT, account.status), "", cards)

    @admin.display(description="Account", ordering="name")
    def shown_name(self, account: Account) -> Any:
        return console.name(account)

    @admin.display(description="State")
    def shown_state(self, account: Account) -> Any:
        return console.badge(state(ACCOUNT, account.status))

    @admin.display(description="Balance")
    def balance(self, account: Account) -> Any:
        return console.money(account.balance_current, account.currency)

    @admin.display(description="Available")
    def available(self, account: Account) -> Any:
        return console.money(account.balance_available, account.currency)

    @admin.display(description="Limit")
    def limit(self, account: Account) -> Any:
        return console.money(account.balance_limit, account.currency)


@admin.register(PlaidItemAccount)
class PlaidItemAccountAdmin(ReadOnlyAdmin):
    """Which account a Plaid account id means, replaced ids included."""

    id_lookups = ("pk", "account_id", "item_id")
    list_display = ("plaid_account_id_code", "account_name", "item_name", "replaced_at_ago", "created_at_ago")
    list_select_related = ("account", "item")
    search_fields = ("plaid_account_id__exact", "account__name", "item__item_id__exact")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "plaid_account_id_whole",
                    "account",
                    "item",
                    "workspace",
                    "replaced_at_exact",
                    "created_at_exact",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return (
            super().get_queryset(request).select_related("account", "item", "workspace").defer("item__institution_logo")
        )
