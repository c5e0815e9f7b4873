from routing.admin import alias, api_key, health_event, revision, route, stored_response

__all__ = ["alias", "api_key", "health_event", "revision", "route", "stored_response"]
