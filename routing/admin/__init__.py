from routing.admin import alias, api_key, revision, route

__all__ = ["alias", "api_key", "revision", "route"]
