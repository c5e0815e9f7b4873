from tenants.models.api_key import ApiKey
from tenants.models.ledger import UsageDay, UsageHour, UsageRecord
from tenants.models.limits import Budget, BudgetSpend, RateLimit
from tenants.models.tenant import Member, Project, Tenant, User

__all__ = [
    "ApiKey",
    "Budget",
    "BudgetSpend",
    "Member",
    "Project",
    "RateLimit",
    "Tenant",
    "UsageDay",
    "UsageHour",
    "UsageRecord",
    "User",
]
