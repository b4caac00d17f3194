"""The clock's jobs for somebody else's scheduler: `X-Jobs-Secret` instead of a person."""

import hmac

from django.conf import settings
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from config.openapi import raises
from connections.api.base import ApiView
from connections.audit import NotAudited
from connections.errors import NotFound, PermissionRefused
from sync.services.jobs import job_run

HEADER = "X-Jobs-Secret"


SAFETY_NET_EXAMPLE = {
    "scheduled": 3,
    "polled": 1,
    "leases_ended": 0,
    "runs_ended": 0,
    "exchanges_unknown": 0,
    "authorizations_unknown": 0,
    "rotations_settled": 0,
    "providers_resumed": 0,
    "logins_repaired": 1,
}
CLEANUP_EXAMPLE = {
    "consent_notices": 4,
    "dormant_noticed": 1,
    "dormant_removed": 0,
    "links_expired": 2,
    "items_removed": 1,
    "disconnected": 1,
}
SECRET = OpenApiParameter(HEADER, str, OpenApiParameter.HEADER, required=True, description="The JOBS_SECRET.")


class ProcessCounts(serializers.Serializer):
    offered = serializers.IntegerField(help_text="Banks handed out.")
    offered_large = serializers.IntegerField(help_text="Of them with a long update, on the queue for those.")


class SafetyNetCounts(serializers.Serializer):
    scheduled = serializers.IntegerField(help_text="Banks whose daily time has come.")
    polled = serializers.IntegerField(help_text="Banks that neither a webhook nor a sync touched for long.")
    leases_ended = serializers.IntegerField(help_text="Banks taken back from workers that died.")
    runs_ended = serializers.IntegerField(help_text="Runs that nobody would have gone on with.")
    exchanges_unknown = serializers.IntegerField(help_text="Exchanges whose outcome nobody will learn.")
    authorizations_unknown = serializers.IntegerField(help_text="Sign-ins at a provider whose answer was lost.")
    rotations_settled = serializers.IntegerField(help_text="Token rotations that were left in the middle.")
    providers_resumed = serializers.IntegerField(help_text="Providers at rest that let us through again.")
    logins_repaired = serializers.IntegerField(help_text="Banks that needed their owner, and work again.")


class CleanupCounts(serializers.Serializer):
    consent_notices = serializers.IntegerField(help_text="Consents that end soon, told 14, 7 or 1 days ahead.")
    dormant_noticed = serializers.IntegerField(help_text="Banks that nobody uses: their owners got notice.")
    dormant_removed = serializers.IntegerField(help_text="Of those, banks whose time is over.")
    links_expired = serializers.IntegerField(help_text="Link sessions that nobody finished.")
    items_removed = serializers.IntegerField(help_text="Items removed at Plaid.")
    disconnected = serializers.IntegerField(help_text="Connections that are disconnected now.")


class JobView(ApiView):
    """One of the clock's jobs, run now. It answers what it did; repeating it is harmless."""

    anonymous_methods = ("POST",)
    ignores_keys_because = "It does what is due, so that a repeat finds nothing left to do."
    audit = {"POST": NotAudited("the clock's own work, a little earlier; what it ends is on record as the system's")}
    throttle_classes = ()

    def authorize(self, request: Request) -> None:
        """Raises NotFound where this installation has no JOBS_SECRET, PermissionRefused where the header is not it."""
        super().authorize(request)
        if not settings.JOBS_SECRET:
            raise NotFound("This installation takes no job requests.", remediation="Set JOBS_SECRET to allow them.")
        given = request.headers.get(HEADER, "")
        if not hmac.compare_digest(given.encode(), settings.JOBS_SECRET.encode()):
            raise PermissionRefused(
                f"The header {HEADER} is missing or wrong.", remediation="Send the installation's JOBS_SECRET in it."
            )


class ProcessView(JobView):
    @extend_schema(
        operation_id="jobs_plaid_process",
        summary="Hand banks with news out to the workers",
        auth=[],
        parameters=[SECRET],
        request=None,
        responses=ProcessCounts,
        examples=[OpenApiExample("Done", value={"offered": 12, "offered_large": 1})],
    )
    @raises("permission_denied", "not_found")
    def post(self, request: Request) -> Response:
        return Response(job_run("process"))


class SafetyNetView(JobView):
    @extend_schema(
        operation_id="jobs_plaid_safety_net",
        summary="Look at banks that nobody looked at for long",
        auth=[],
        parameters=[SECRET],
        request=None,
        responses=SafetyNetCounts,
        examples=[OpenApiExample("Done", value=SAFETY_NET_EXAMPLE)],
    )
    @raises("permission_denied", "not_found")
    def post(self, request: Request) -> Response:
        return Response(job_run("safety-net"))


class CleanupView(JobView):
    @extend_schema(
        operation_id="jobs_plaid_cleanup",
        summary="End what is over or unused",
        auth=[],
        parameters=[SECRET],
        request=None,
        responses=CleanupCounts,
        examples=[OpenApiExample("Done", value=CLEANUP_EXAMPLE)],
    )
    @raises("permission_denied", "not_found")
    def post(self, request: Request) -> Response:
        return Response(job_run("cleanup"))
