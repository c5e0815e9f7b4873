from routing.models.alias import ModelAlias
from routing.models.config_change import ConfigChange
from routing.models.health_event import HealthEvent
from routing.models.revision import ConfigRevision
from routing.models.route import Route, RouteTarget
from routing.models.stored_response import StoredResponse

__all__ = ["ConfigChange", "ConfigRevision", "HealthEvent", "ModelAlias", "Route", "RouteTarget", "StoredResponse"]
