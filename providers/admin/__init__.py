from providers.admin import deployment, price, provider

__all__ = ["deployment", "price", "provider"]
