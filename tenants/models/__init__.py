from tenants.models.alert_channel import AlertChannel
from tenants.models.alert_incident import AlertIncident, AlertMessage
from tenants.models.alert_rule import AlertRule, AlertState
from tenants.models.alert_silence import AlertSilence
from tenants.models.api_key import ApiKey
from tenants.models.api_token import ApiToken
from tenants.models.audit import AuditEvent
from tenants.models.body import RequestBody
from tenants.models.budget_alert import BudgetAlert
from tenants.models.invitation import Invitation
from tenants.models.ledger import (
    UsageDay,
    UsageEndUserDay,
    UsageHour,
    UsageOverviewDay,
    UsageOverviewHour,
    UsageRecord,
    UsageTotalDay,
    UsageTotalHour,
)
from tenants.models.legal import LegalAcceptance, LegalDocument
from tenants.models.limits import Budget, BudgetSpend, CreditTopUp, RateLimit
from tenants.models.tenant import Member, Project, Tenant, User

__all__ = [
    "AlertChannel",
    "AlertIncident",
    "AlertMessage",
    "AlertRule",
    "AlertSilence",
    "AlertState",
    "ApiKey",
    "ApiToken",
    "AuditEvent",
    "Budget",
    "BudgetAlert",
    "BudgetSpend",
    "CreditTopUp",
    "Invitation",
    "LegalAcceptance",
    "LegalDocument",
    "Member",
    "Project",
    "RateLimit",
    "RequestBody",
    "Tenant",
    "UsageDay",
    "UsageEndUserDay",
    "UsageHour",
    "UsageOverviewDay",
    "UsageOverviewHour",
    "UsageRecord",
    "UsageTotalDay",
    "UsageTotalHour",
    "User",
]
