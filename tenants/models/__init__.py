from tenants.models.alerts import BudgetAlert
from tenants.models.api_key import ApiKey
from tenants.models.ledger import UsageDay, UsageEndUserDay, UsageHour, UsageRecord
from tenants.models.legal import LegalAcceptance, LegalDocument
from tenants.models.limits import Budget, BudgetSpend, CreditTopUp, RateLimit
from tenants.models.tenant import Member, Project, Tenant, User

__all__ = [
    "ApiKey",
    "Budget",
    "BudgetAlert",
    "BudgetSpend",
    "CreditTopUp",
    "LegalAcceptance",
    "LegalDocument",
    "Member",
    "Project",
    "RateLimit",
    "Tenant",
    "UsageDay",
    "UsageEndUserDay",
    "UsageHour",
    "UsageRecord",
    "User",
]
