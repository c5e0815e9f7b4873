from tenants.admin import alerts, api_key, ledger, legal, limits, member, project, tenant, user

__all__ = ["alerts", "api_key", "ledger", "legal", "limits", "member", "project", "tenant", "user"]
