from routing.models.alias import ModelAlias
from routing.models.revision import ConfigRevision
from routing.models.route import Route, RouteTarget
from routing.models.stored_response import StoredResponse

__all__ = ["ConfigRevision", "ModelAlias", "Route", "RouteTarget", "StoredResponse"]
