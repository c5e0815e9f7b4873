"""What a provider offers becomes deployments with routes and prices, in two clicks."""

from __future__ import annotations

import re

from providers.models import Deployment
from routing.models import ModelAlias
from tests.gateway_site.admin.upstreams import KEY, free_port, models_url, running_simulator, running_upstream, server


def token_of(text: str) -> str:
    return re.search(r'name="offered" value="([^"]+)"', text)[1]  # type: ignore[index]


def test_it_lists_what_a_provider_offers(console):
    with running_simulator(key=KEY) as simulator:
        provider = server(simulator.url)
        Deployment.objects.create(slug="fast", provider=provider, model="sim-fast")
        assert "sim-fast" not in console.get(models_url(provider)).content.decode()
        text = console.client.post(models_url(provider)).content.decode()
    assert 'value="sim-slow"' in text
    assert 'value="sim-fast"' not in text  # is here already
    assert ">fast<" in text.replace(" ", "").replace("\n", "")


def test_chosen_models_become_deployments_with_routes(console):
    with running_simulator(key=KEY) as simulator:
        provider = server(simulator.url)
        token = token_of(console.client.post(models_url(provider)).content.decode())
    response = console.client.post(
        models_url(provider), {"offered": token, "model": ["sim-fast", "sim-slow"], "with_routes": "on"}
    )
    assert response.status_code == 302
    assert list(Deployment.objects.values_list("slug", "model")) == [
        ("sim-sim-fast", "sim-fast"),
        ("sim-sim-slow", "sim-slow"),
    ]
    assert list(ModelAlias.objects.values_list("name", "route__targets__deployment__slug")) == [
        ("sim-fast", "sim-sim-fast"),
        ("sim-slow", "sim-sim-slow"),
    ]


def test_sizes_and_prices_are_taken_over(console):
    listed = {
        "data": [
            {
                "id": "openai/gpt-5-mini",
                "context_length": 400_000,
                "top_provider": {"max_completion_tokens": 128_000},
                "architecture": {"input_modalities": ["text", "image"]},
                "supported_parameters": ["tools"],
                "pricing": {"prompt": "0.00000125", "completion": "0.00001"},
            }
        ]
    }
    with running_upstream(listed) as upstream:
        provider = server(upstream.url)
        text = console.client.post(models_url(provider)).content.decode()
    for part in ("400,000", "128,000", "images, tools", "1.25 / 10 USD"):
        assert part in text, part
    console.client.post(
        models_url(provider), {"offered": token_of(text), "model": ["openai/gpt-5-mini"], "with_prices": "on"}
    )
    made = Deployment.objects.get()
    assert (made.context_window, made.max_output_tokens) == (400_000, 128_000)
    assert set(made.prices.values_list("side", flat=True)) == {"sell", "cost"}


def test_a_model_that_was_not_shown_is_not_made(console):
    with running_simulator(key=KEY) as simulator:
        provider = server(simulator.url)
        token = token_of(console.client.post(models_url(provider)).content.decode())
    console.client.post(models_url(provider), {"offered": token, "model": ["made-up"]})
    console.client.post(models_url(provider), {"offered": "forged", "model": ["sim-fast"]})
    assert not Deployment.objects.exists()


def test_a_provider_without_models_says_why(console):
    text = console.client.post(models_url(server(f"http://127.0.0.1:{free_port()}"))).content.decode()
    assert "connection was refused" in text


def test_only_who_may_make_deployments_sees_models(provider, charlie):
    assert charlie.get(models_url(provider)).status_code == 403
    assert charlie.post(models_url(provider)).status_code == 403
