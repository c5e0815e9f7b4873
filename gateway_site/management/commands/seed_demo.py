import json
import re
import secrets
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from gateway_site.env import envint, envstr
from gateway_site.infra.valkey import StoreUnavailable
from gateway_site.node.state import make_state_dir, write_private
from providers.adapters.base import Adapter
from providers.models import Provider
from providers.registry import ADAPTERS
from routing.declaration.apply import apply, wait_for_other_applies
from routing.declaration.schema import read_declaration
from routing.models import ConfigRevision
from routing.services import publish
from tenants.models import Tenant, User

type Block = dict[str, Any]

OPERATOR = "admin"
PASSWORD_LENGTH = 20
SIMULATOR = "simulator"
SIMULATOR_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")

# List prices of the starter models, so that the demo's budget means something from the first request on.
STARTER_PRICES = {
    "gpt-5-mini": {"input": "0.25", "cache_read": "0.025", "output": "2"},
    "claude-sonnet-5": {
        "input": "3",
        "cache_read": "0.30",
        "cache_write_5m": "3.75",
        "cache_write_1h": "6",
        "output": "15",
    },
}


class Command(BaseCommand):
    help = "On an empty database: make an operator, a demo tenant with a key, and something to call."

    def handle(self, *args: Any, **options: Any) -> None:
        make_state_dir(settings.STATE_DIR)
        if seed() or not ConfigRevision.objects.filter(status=ConfigRevision.Status.PUBLISHED).exists():
            self.publish("First run")
        if follow_simulator():
            self.publish("The simulator has another port")

    def publish(self, note: str) -> None:
        try:
            published = publish(note=note)
        except StoreUnavailable as error:
            raise CommandError(str(error)) from None
        for sentence in published.errors:  # somebody's later changes are no reason not to start
            self.stderr.write(sentence)


def is_seeded() -> bool:
    """Whether somebody has used this database; a deleted demo leaves at least the operator behind."""
    return any(model.objects.exists() for model in (User, Tenant, Provider))


def seed() -> bool:
    """Make the first objects and note the facts for the banner; False when there are objects already."""
    with transaction.atomic():
        wait_for_other_applies()
        if is_seeded():
            return False
        starters = [adapter for adapter in configured_adapters() if adapter.starter_model]
        outcome = apply(read_declaration(yaml.safe_dump(demo(starters)), lookup=envstr))
        password = new_password()
        User.objects.create_superuser(OPERATOR, password=password)
        [key] = outcome.new_keys
        facts = {
            "operator_username": OPERATOR,
            "operator_password": password,
            "api_key": key.secret,
            "tenant": "demo",
            "chat_model": model_for("openai_chat", starters),
            "messages_model": model_for("anthropic_messages", starters),
            "simulator": needs_simulator(starters),
        }
        write_facts(facts)  # before the commit: a password that nobody can read would lock everybody out
    return True


def follow_simulator() -> bool:
    """Point the demo's provider at the simulator's port of today; note whether there is such a provider."""
    provider = Provider.objects.filter(slug=SIMULATOR).first()
    is_ours = provider is not None and SIMULATOR_ADDRESS.fullmatch(provider.base_url) is not None
    facts = read_facts()
    if facts.get("simulator", False) is not is_ours:
        write_facts(facts | {"simulator": is_ours})
    if provider is None or not is_ours or provider.base_url == simulator_address():
        return False
    provider.base_url = simulator_address()
    provider.save(update_fields=["base_url"])
    return True


# --- What is declared --------------------------------------------------------------------------------------


def configured_adapters() -> list[Adapter]:
    """The vendors whose key is in the environment."""
    return [each for each in ADAPTERS.values() if each.credential_variable and envstr(each.credential_variable)]


def demo(starters: list[Adapter]) -> Block:
    """The configuration of the first run."""
    providers = [
        {"slug": each.name, "adapter": each.name, "credential": f"${{{each.credential_variable}}}"}
        for each in configured_adapters()
    ]
    deployments = [starter_deployment(each) for each in starters]
    routes = [
        {"alias": deployment["model"], "targets": [{"deployment": deployment["slug"]}]} for deployment in deployments
    ]
    declared: Block = {"providers": providers, "deployments": deployments, "routes": routes}
    if needs_simulator(starters):
        declared = {name: part + simulated()[name] for name, part in declared.items()}
    return declared | {"tenants": [demo_tenant()]}


def starter_deployment(adapter: Adapter) -> Block:
    """A vendor's starter model."""
    model = adapter.starter_model
    deployment = {"slug": re.sub(r"[^A-Za-z0-9_-]", "-", model), "provider": adapter.name, "model": model}
    return deployment | ({"prices": STARTER_PRICES[model]} if model in STARTER_PRICES else {})


def simulated() -> Block:
    """The simulator as a provider, with one alias: asked in the client's own dialect, translated for Gemini's."""
    return {
        "providers": [
            {
                "slug": SIMULATOR,
                "name": "Simulator",
                "adapter": "openai_compatible",
                "dialects": ["openai_chat", "openai_responses", "anthropic_messages"],
                "base_url": simulator_address(),
                "allow_private_address": True,
                "credential": "demo",
            }
        ],
        "deployments": [
            {
                "slug": "demo-chat",
                "provider": SIMULATOR,
                "model": "sim-steady",
                "prices": {"input": "0.25", "output": "2"},
            },
            {
                "slug": "demo-embedding",
                "provider": SIMULATOR,
                "model": "sim-embedding",
                "kind": "embedding",
                "prices": {"input": "0.02"},
            },
        ],
        "routes": [
            {"alias": "demo", "targets": [{"deployment": "demo-chat"}]},
            {"alias": "demo-embedding", "targets": [{"deployment": "demo-embedding"}]},
        ],
    }


def demo_tenant() -> Block:
    return {
        "slug": "demo",
        "name": "Demo",
        "limits": [{"requests": 600, "per": "minute"}, {"concurrency": 100}],
        "budgets": [{"amount": "50", "currency": "USD", "per": "month", "hard": True}],
        "api_keys": [{"name": "demo"}],
    }


def needs_simulator(starters: Iterable[Adapter]) -> bool:
    """Whether some dialect would have nothing to try: the simulator stands in where no vendor's key is at hand."""
    spoken = {each.dialects[0] for each in starters}
    return not spoken.issuperset(("openai_chat", "anthropic_messages"))


def model_for(dialect: str, starters: list[Adapter]) -> str:
    """The alias to try a dialect with: a vendor's, else the simulator's."""
    return next((each.starter_model for each in starters if each.dialects[0] == dialect), "demo")


# --- Facts -------------------------------------------------------------------------------------------------


def simulator_address() -> str:
    return f"http://127.0.0.1:{envint('TOLLGATE_SIMULATOR_PORT', 9100)}"


def new_password() -> str:
    alphabet = string.ascii_letters + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(PASSWORD_LENGTH))


def facts_file() -> Path:
    return Path(settings.STATE_DIR) / "first_run.json"


def read_facts() -> Block:
    """What an earlier run noted; nothing when there was none."""
    try:
        facts: Block = json.loads(facts_file().read_bytes())
    except FileNotFoundError:
        return {}
    return facts


def write_facts(facts: Block) -> None:
    write_private(facts_file(), json.dumps(facts, indent=2) + "\n")
