from tenants.admin import api_key, ledger, limits, member, project, tenant, user

__all__ = ["api_key", "ledger", "limits", "member", "project", "tenant", "user"]
