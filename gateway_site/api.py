"""The NinjaAPI of the data plane; that of the control plane is in `control_plane_api.py`, apart for the memory's sake."""

from typing import Any, NoReturn

from django.http import HttpRequest
from ninja import NinjaAPI

from gateway_site.health.endpoints import router as health_router
from routing.api import chat_completions, embeddings, generate_content, messages, responses, usage


class DataPlaneAPI(NinjaAPI):
    """Endpoints return responses of their own and raise GatewayErrors, which the handler writes in the caller's dialect."""

    def create_temporal_response(self, request: HttpRequest) -> Any:
        """No endpoint here sets headers through ninja's temporary response; building one costs about 5 µs."""
        return None

    def on_exception(self, request: HttpRequest, exc: Any) -> NoReturn:
        """Leave every error to the handler."""
        raise exc


data_plane = DataPlaneAPI(
    title="Tollgate data plane", urls_namespace="data_plane", docs_url=None, openapi_url=None, version="1"
)
data_plane.add_router("", health_router)
for module in (
    chat_completions,
    messages,
    responses,
    embeddings,
    usage,
    generate_content,
):  # whose router is that of models, too
    data_plane.add_router("", module.router)
