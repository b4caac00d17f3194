"""What every page of the console shares: read-only by default, few queries, one header, verbs that are POSTed.

Also the home of the sign-in, and of admins that belong to no app of ours: beat's schedules, and the console's own log.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial, wraps
from math import ceil
from typing import Any, ClassVar, cast

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db import models
from django.db.models import Count, F, Func, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.safestring import SafeString
from django_celery_beat import admin as beat
from django_celery_beat import models as beat_models
from unfold.admin import ModelAdmin
from unfold.admin import TabularInline as UnfoldTabularInline
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    BooleanRadioFilter,
    ChoicesDropdownFilter,
    DropdownFilter,
)
from unfold.forms import AuthenticationForm
from unfold.views import ChangeList
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from config import console
from config.states import State, state
from connections import budgets
from connections.api.throttling import client_address
from connections.errors import CausewayError
from connections.ids import oldest_id

__all__ = [
    "AutocompleteSelectFilter",
    "Card",
    "ChoicesDropdownFilter",
    "Confirmation",
    "ConsoleAdmin",
    "DropdownFilter",
    "Header",
    "ReadOnlyAdmin",
    "SinceFilter",
    "Verb",
    "YesNoFilter",
]


# --- sign-in ---------------------------------------------------------------------------------------------------------


class SignInForm(AuthenticationForm):
    """Takes from the same budget as the API's sign-in, by address, before any password is hashed."""

    def clean(self) -> dict[str, Any]:
        wait_s = 0.0
        if settings.THROTTLE_LOGIN:
            wait_s = budgets.take("login", client_address(self.request), per_minute=settings.THROTTLE_LOGIN)
        if wait_s:
            self.request.sign_in_wait_s = ceil(wait_s)
            raise ValidationError(f"Too many sign-ins from your address. Try again in {ceil(wait_s)} s.")
        return super().clean()


admin.site.login_form = SignInForm
_login = admin.site.login


@wraps(_login)
def _login_or_429(request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
    response = _login(request, extra_context)
    if wait_s := getattr(request, "sign_in_wait_s", 0):
        response.status_code = 429
        response.headers["Retry-After"] = str(wait_s)
    return response


admin.site.login = _login_or_429  # type: ignore[method-assign]

# --- lists that only grow --------------------------------------------------------------------------------------------


class CappedPaginator(Paginator):
    """Counts to 10,000 and no further: COUNT(*) over millions takes seconds, and nobody leafs that far."""

    limit = 10_000
    template_name = "admin/pagination_capped.html"

    @cached_property
    def _counted(self) -> int:
        rows = cast(QuerySet, self.object_list).order_by()
        return rows[: self.limit + 1].count()

    @property
    def count(self) -> int:
        return min(self._counted, self.limit)

    @property
    def is_capped(self) -> bool:
        return self._counted > self.limit


class ConsoleChangeList(ChangeList):
    """A list that says how many rows a filter leaves, and only then."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.full_result_count: int | None
        if self.full_result_count is None and not self.query and not self.get_filters_params():
            self.full_result_count = self.result_count


class YesNoFilter(BooleanRadioFilter):
    """A flag. Left at "All", the form sends it empty, which unfold's own takes for a mistake."""

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return super().queryset(request, queryset) if self.value() else queryset


class SinceFilter(DropdownFilter):
    """Rows made in the last hour, day, week or month, found by their primary key."""

    title = "time"
    parameter_name = "since"
    spans: ClassVar[dict[str, tuple[str, timedelta]]] = {
        "1h": ("In the last hour", timedelta(hours=1)),
        "24h": ("In the last 24 hours", timedelta(hours=24)),
        "7d": ("In the last 7 days", timedelta(days=7)),
        "30d": ("In the last 30 days", timedelta(days=30)),
    }

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(key, text) for key, (text, _) in self.spans.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        span = self.spans.get(self.value() or "")
        return queryset.filter(pk__gte=oldest_id(timezone.now() - span[1])) if span else queryset


# --- pages -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Card:
    """One of at most four facts above the fold."""

    label: str
    value: SafeString | str | int


@dataclass(frozen=True)
class Header:
    """The top of a page: is it all right, what needs me, what can I do about it?"""

    title: object
    state: State | None = None
    sentence: str = ""
    cards: tuple[Card, ...] = ()
    template: str = ""  # shown below the cards
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Confirmation:
    """What a person reads before what cannot be undone, and what they have to type to mean it."""

    question: str  # the whole of it, as a heading
    goes: tuple[str, ...]
    stays: tuple[str, ...]
    type_this: str


@dataclass(frozen=True)
class Verb:
    """Something a person can do to a row. Changes nothing itself: `perform` calls one service and says what happened."""

    label: str
    icon: str
    perform: Callable[[Any, Any, str], str]  # (row, actor, answer) -> what happened
    applies: Callable[[Any], bool] = lambda row: True
    asks: str = ""  # a question that has to be answered with it
    confirms: Callable[[Any], Confirmation] | None = None  # a page of its own comes first
    is_primary: bool = False
    leads_to: Callable[[Any], str] | None = None  # the address where it is done, instead of doing it
    sends_to: Callable[[Any, Any], str] | None = None  # (row, actor) -> where it goes on, instead of `perform`


class ConsoleAdmin(ModelAdmin):
    """Nothing is editable but `editable`; nobody adds or deletes.

    Every column can be shown in the house's way by a suffix: `<instant>_ago` and `<instant>_exact`, `<id>_code` and
    `<id>_whole`, `<json>_json`, `<text>_raw`, `<name>_name`.
    """

    editable: ClassVar[tuple[str, ...]] = ()
    id_lookups: ClassVar[tuple[str, ...]] = ("pk",)  # what an id typed into the search may be, all of them indexed
    chip_field: ClassVar[str] = ""  # the field whose values are offered above the list
    chip_words: ClassVar[dict[str, State]] = {}
    chip_counts: ClassVar[bool] = False  # only where counting the whole table is cheap
    verbs: ClassVar[dict[str, Verb]] = {}

    paginator: Any = CappedPaginator
    empty_value_display = console.DASH
    empty_sentence: ClassVar[str] = ""
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 0
    show_facets = admin.ShowFacets.NEVER  # they count the whole table once a choice
    list_filter_submit = True
    list_filter_sheet = True
    list_before_template = "admin/chips.html"
    change_form_outer_before_template = "admin/header.html"
    actions_on_bottom = False

    def __init__(self, model: type[models.Model], admin_site: admin.AdminSite) -> None:
        for column in model._meta.concrete_fields:
            for suffix, shown in _views_of(column):
                setattr(self, f"{column.name}_{suffix}", _column(column, shown, is_sortable=suffix in ("ago", "name")))
        super().__init__(model, admin_site)

    # --- what may be done ---

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def may_act(self, request: HttpRequest) -> bool:
        """Whether this person may use the verbs: the model's change permission, also where no field can be edited."""
        return request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return tuple(name for name in flatten_fieldsets(self.get_fieldsets(request, obj)) if name not in self.editable)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write only what was edited: a worker may be writing the row's other columns at this moment."""
        if not change:
            return super().save_model(request, obj, form, change)
        concrete = {column.name for column in self.opts.concrete_fields}
        written = [name for name in form.changed_data if name in concrete]
        if written:
            obj.save(update_fields=[*written, *(["updated_at"] if "updated_at" in concrete else [])])
        return None

    # --- lists ---

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ConsoleChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        queryset = super().get_queryset(request)
        return queryset.select_related(*self.list_select_related) if self.list_select_related else queryset

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        """Ids are looked up by their indexes; only other words are searched for in text. PostgreSQL refuses NUL."""
        search_term = search_term.replace("\x00", "").strip()
        try:
            sought = uuid.UUID(search_term)
        except ValueError:
            return super().get_search_results(request, queryset, search_term)
        found = queryset.filter(Q.create([(lookup, sought) for lookup in self.id_lookups], connector=Q.OR))
        by_text, has_duplicates = super().get_search_results(request, queryset, search_term)
        return (found, False) if found.exists() else (by_text, has_duplicates)

    def get_actions(self, request: HttpRequest) -> Any:
        """The verbs that ask nothing, for several rows at once."""
        actions: dict[str, tuple[Callable[..., Any], str, str]] = {}
        if self.may_act(request):
            for key, verb in self.verbs.items():
                if not (verb.asks or verb.confirms or verb.leads_to or verb.sends_to):
                    actions[key] = (partial(_perform_all, verb), key, verb.label)
        return actions

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"chips": self._chips(request), **(extra_context or {})})

    def _chips(self, request: HttpRequest) -> list[dict[str, Any]]:
        if not self.chip_field:
            return []
        key = f"{self.chip_field}__exact"
        chosen, rest = request.GET.get(key, ""), request.GET.copy()
        for parameter in (key, "p", "e"):
            rest.pop(parameter, None)
        counts: dict[str, int] = {}
        if self.chip_counts:
            counts = dict(self.model._default_manager.order_by().values_list(self.chip_field).annotate(Count("pk")))
        chips = [
            {
                "text": "All",
                "url": f"?{rest.urlencode()}",
                "is_chosen": not chosen,
                "count": sum(counts.values()) if self.chip_counts else None,
            }
        ]
        for value, label in self.opts.get_field(self.chip_field).flatchoices:
            if self.chip_counts and value not in counts and value != chosen:
                continue
            shown, query = state(self.chip_words, value) if self.chip_words else None, rest.copy()
            query[key] = value
            chips.append(
                {
                    "text": shown.word if shown else label,
                    "state": shown,
                    "url": f"?{query.urlencode()}",
                    "is_chosen": chosen == value,
                    "count": counts.get(value, 0) if self.chip_counts else None,
                }
            )
        return chips

    # --- one row ---

    def header(self, row: Any) -> Header:
        """The page's header. Overridden by whoever has more to say than a name."""
        return Header(console.name(row))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: Any = None, **kwargs: Any
    ) -> HttpResponse:
        if obj is not None:
            context["header"] = self.header(obj)
            context["verbs"] = self._verbs_for(request, obj)
            context["show_save_and_continue"] = context["show_save_and_add_another"] = False
        return super().render_change_form(request, context, *args, obj=obj, **kwargs)

    def _verbs_for(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        if not self.may_act(request):
            return []
        return [
            {
                "verb": verb,
                "url": verb.leads_to(row) if verb.leads_to else reverse(self._verb_url_name, args=[row.pk, key]),
                "asks_first": bool(verb.confirms or verb.leads_to),  # a template would call it
            }
            for key, verb in self.verbs.items()
            if verb.applies(row)
        ]

    @property
    def _verb_url_name(self) -> str:
        return f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_verb"

    def get_urls(self) -> list:
        name = self._verb_url_name.partition(":")[2]
        return [
            path("<path:object_id>/do/<slug:verb>/", self.admin_site.admin_view(self.verb_view), name=name),
            *super().get_urls(),
        ]

    def verb_view(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        """Done by POST only, so that no link and no foreign page can do anything. GET asks, where a verb has to be confirmed."""
        asks = verb in self.verbs and self.verbs[verb].confirms is not None
        if request.method != "POST" and not (asks and request.method in ("GET", "HEAD")):
            return HttpResponseNotAllowed(["GET", "POST"] if asks else ["POST"])
        if not self.may_act(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None or verb not in self.verbs or self.verbs[verb].leads_to:
            raise Http404
        if (confirms := self.verbs[verb].confirms) and self.verbs[verb].applies(row):
            confirmation = confirms(row)
            is_meant = " ".join(request.POST.get("answer", "").split()) == " ".join(confirmation.type_this.split())
            if request.method != "POST" or not is_meant:
                return self._confirm(request, self.verbs[verb], row, confirmation)
        elif request.method != "POST":
            return HttpResponseRedirect(console.to_page(row))
        if self.verbs[verb].sends_to:
            return HttpResponseRedirect(self.send(request, self.verbs[verb], row) or console.to_page(row))
        if message := self.perform(request, self.verbs[verb], row, request.POST.get("answer", "")):
            self.message_user(request, message, messages.SUCCESS)
        return HttpResponseRedirect(console.to_page(row))

    def _confirm(self, request: HttpRequest, verb: Verb, row: Any, confirmation: Confirmation) -> HttpResponse:
        """The page that says what goes and what stays. Nothing happens until the right words are typed there."""
        context = {
            **self.admin_site.each_context(request),
            "title": verb.label,
            "opts": self.opts,
            "verb": verb,
            "confirmation": confirmation,
            "is_wrong": request.method == "POST",
            "back": console.to_page(row),
        }
        return TemplateResponse(request, "admin/confirm.html", context)

    def send(self, request: HttpRequest, verb: Verb, row: Any) -> str:
        """Where it goes on; "" where it was refused."""
        try:
            url = verb.sends_to(row, request.user) if verb.sends_to else ""
        except CausewayError as refusal:
            self.message_user(request, f"{row}: {refusal.detail} {refusal.remediation}", messages.ERROR)
            return ""
        self.log_change(request, row, f"{verb.label}: begun.")
        return url

    def perform(self, request: HttpRequest, verb: Verb, row: Any, answer: str = "") -> str:
        """Do it, put it on the console's log and say what happened; a refusal is shown with its reason and gives ""."""
        try:
            message = verb.perform(row, request.user, answer)
        except CausewayError as refusal:
            self.message_user(request, f"{row}: {refusal.detail} {refusal.remediation}", messages.ERROR)
            return ""
        self.log_change(request, row, message)
        return message


def _perform_all(verb: Verb, model_admin: ConsoleAdmin, request: HttpRequest, queryset: QuerySet) -> None:
    """Each row on its own, so that one that refuses stops none of the others."""
    done = [row for row in queryset if model_admin.perform(request, verb, row)]
    if done:
        noun = model_admin.opts.verbose_name if len(done) == 1 else model_admin.opts.verbose_name_plural
        model_admin.message_user(request, f"{verb.label}: done for {len(done):,} {noun}.", messages.SUCCESS)


def _views_of(column: models.Field) -> list[tuple[str, Callable[[Any, str], Any]]]:
    """(suffix, how to show that column of a row)."""
    if isinstance(column, models.DateTimeField):
        return [
            ("ago", lambda row, name: console.moment(getattr(row, name))),
            ("exact", lambda row, name: console.moment(getattr(row, name), is_exact=True)),
        ]
    if isinstance(column, models.DateField):
        return [("day", lambda row, name: console.day(getattr(row, name)))]
    if isinstance(column, models.JSONField):
        return [("json", _json_of)]
    if isinstance(column, models.UUIDField | models.CharField | models.TextField):
        return [
            ("code", lambda row, name: console.code(getattr(row, name))),
            ("whole", lambda row, name: console.code(getattr(row, name), is_whole=True)),
            ("name", lambda row, name: console.name(getattr(row, name))),
            ("raw", lambda row, name: console.pretty(getattr(row, name))),
        ]
    if isinstance(column, models.ForeignKey):
        return [("name", lambda row, name: console.name(getattr(row, name)))]
    return []


def _column(column: models.Field, shown: Callable[[Any, str], Any], *, is_sortable: bool) -> Callable[[Any], Any]:
    def view(row: Any) -> Any:
        return shown(row, column.name)

    label = str(column.verbose_name)
    view.short_description = label if label == "error at" else label.removesuffix(" at")  # type: ignore[attr-defined]
    if is_sortable:
        view.admin_order_field = column.name  # type: ignore[attr-defined]
    return view


def _json_of(row: Any, name: str) -> SafeString | str:
    """PostgreSQL writes it out, so that every digit of a number stays as the source sent it. One query, pages only."""
    written = Func(F(name), function="jsonb_pretty", output_field=models.TextField())
    text = type(row)._base_manager.filter(pk=row.pk).values_list(written, flat=True).first()
    return console.pretty("" if text is None or "".join(text.split()) in ("{}", "[]", "null") else str(text))


class ReadOnlyAdmin(ConsoleAdmin):
    """Evidence: nobody edits it, whatever their permissions. Its table grows, so nothing sorts or counts all of it."""

    ordering = ("-pk",)
    sortable_by = ()

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) or self.may_act(request)


class SuperuserAdmin(ConsoleAdmin):
    """Who may do what is decided by superusers; others with the permission to view it see it."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)


# --- admins that belong to no app of ours ----------------------------------------------------------------------------


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdmin):
    """Who did what in the console, and when."""

    list_display = ("action_time_ago", "user", "what", "content_type", "object_repr_name", "object_id_code")
    list_display_links = ("action_time_ago",)
    list_select_related = ("user", "content_type")
    list_filter = (("user", AutocompleteSelectFilter),)
    search_fields = ("object_id__exact", "object_repr", "user__username")
    id_lookups: ClassVar = ()
    fieldsets = (
        (None, {"fields": ("action_time_exact", "user", "what", "content_type", "object_repr", "object_id_whole")}),
    )

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        return super(ConsoleAdmin, self).get_search_results(request, queryset, search_term.replace("\x00", ""))

    @admin.display(description="What")
    def what(self, entry: LogEntry) -> str:
        return entry.get_change_message() or entry.get_action_flag_display()


class BeatAdmin(ModelAdmin):
    """beat's own admin in this console's clothes. Its actions ask for no permission of their own, so they do here."""

    show_full_result_count = False

    def get_actions(self, request: HttpRequest) -> dict:
        return super().get_actions(request) if self.has_change_permission(request) else {}

    def response_action(self, request: HttpRequest, queryset: QuerySet) -> Any:
        """beat's actions leave nothing on the console's log by themselves."""
        action = request.POST.get("action", "")
        if action in self.get_actions(request) and action != "delete_selected":
            for row in queryset.filter(pk__in=request.POST.getlist(ACTION_CHECKBOX_NAME)):
                self.log_change(request, row, f"Action {action}.")
        return super().response_action(request, queryset)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """One at a time: of a bulk insert the audit hears nothing."""
        return [entry for row in queryset for entry in super(BeatAdmin, self).log_deletions(request, [row])]


class TaskSelect(UnfoldAdminSelectWidget, beat.TaskSelectWidget):
    """The registered tasks, in unfold's select."""


class PeriodicTaskForm(beat.PeriodicTaskForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "regtask" in self.fields:
            self.fields["regtask"].widget = TaskSelect()
        if "task" in self.fields:
            self.fields["task"].widget = UnfoldAdminTextInputWidget()


class TasksOfSchedule(UnfoldTabularInline):
    model = beat_models.PeriodicTask
    fields = readonly_fields = ("name", "task", "args", "kwargs")
    can_delete = False
    extra = 0
    show_change_link = True
    verbose_name_plural = "Periodic tasks using this schedule"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


for _model in (
    beat_models.PeriodicTask,
    beat_models.IntervalSchedule,
    beat_models.CrontabSchedule,
    beat_models.SolarSchedule,
    beat_models.ClockedSchedule,
):
    admin.site.unregister(_model)


@admin.register(beat_models.PeriodicTask)
class PeriodicTaskAdmin(BeatAdmin, beat.PeriodicTaskAdmin):
    form = PeriodicTaskForm
    date_hierarchy = None


@admin.register(beat_models.CrontabSchedule)
class CrontabScheduleAdmin(BeatAdmin, beat.CrontabScheduleAdmin):
    inlines = (TasksOfSchedule,)


@admin.register(beat_models.IntervalSchedule, beat_models.ClockedSchedule)
class ScheduleAdmin(BeatAdmin):
    inlines = (TasksOfSchedule,)
