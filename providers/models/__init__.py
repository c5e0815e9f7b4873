from providers.models.deployment import Deployment
from providers.models.price import ModelPrice
from providers.models.provider import Provider

__all__ = ["Deployment", "ModelPrice", "Provider"]
