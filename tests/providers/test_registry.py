"""Every provider is a value that fits, and no dialect knows another."""

import ast
from pathlib import Path

import pytest

from providers import dialects
from providers.adapters.base import Adapter, api_key, bearer, x_api_key, x_goog_api_key
from providers.addresses import refuse_private_address, validate_base_url
from providers.canonical.inbound import Operation
from providers.dialects.base import Dialect
from providers.registry import ADAPTERS, DIALECTS, KNOWN_DIALECTS

FOLDER = Path(dialects.__file__).parent
PACKAGES = sorted(path.name for path in FOLDER.iterdir() if (path / "__init__.py").exists())

each_adapter = pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=list(ADAPTERS))
each_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))


def test_every_adapter_module_is_registered_under_its_own_name():
    modules = {path.stem for path in (FOLDER.parent / "adapters").glob("*.py")} - {"__init__", "base", "quirks"}
    assert set(ADAPTERS) == modules
    assert all(name == adapter.name for name, adapter in ADAPTERS.items())


def test_labels_and_variables_are_unique():
    for values in (
        [adapter.label for adapter in ADAPTERS.values()],
        [adapter.credential_variable for adapter in ADAPTERS.values() if adapter.credential_variable],
        [adapter.base_url for adapter in ADAPTERS.values() if adapter.base_url],
    ):
        assert len(values) == len(set(values))


@each_adapter
def test_an_adapter_is_complete(adapter: Adapter):
    assert adapter.label
    assert adapter.dialects[0] in DIALECTS  # the best of them is served
    assert set(adapter.dialects) <= set(KNOWN_DIALECTS)
    assert bool(adapter.starter_model) <= bool(adapter.credential_variable)
    assert adapter.credential_variable.endswith("_API_KEY") or not adapter.credential_variable


@each_adapter
def test_an_adapters_own_address_is_public_and_joins(adapter: Adapter):
    if not adapter.base_url:
        assert adapter.name == "openai_compatible"
        return
    validate_base_url(adapter.base_url)
    refuse_private_address(adapter.base_url)
    assert not adapter.base_url.endswith("/")
    assert adapter.base_url.startswith("https://")


@each_adapter
def test_headers_are_compared_in_lower_case(adapter: Adapter):
    assert all(name == name.lower() for name, _ in adapter.headers)


@pytest.mark.parametrize(
    ("base_url", "path", "url"),
    [
        ("https://a", "/v1/messages", "https://a/v1/messages"),
        ("https://a/v1", "/v1/messages", "https://a/v1/messages"),
        ("https://a/proxy/v1", "/v1/messages", "https://a/proxy/v1/messages"),
        ("https://a/v1", "/chat/completions", "https://a/v1/chat/completions"),
        ("https://a", "/chat/completions", "https://a/chat/completions"),
        ("https://a/v1beta", "/v1/messages", "https://a/v1beta/v1/messages"),
        ("https://a/xv1", "/v1/messages", "https://a/xv1/v1/messages"),
        ("https://a/v1", "/embeddings", "https://a/v1/embeddings"),
    ],
)
def test_a_version_at_the_end_of_the_address_is_kept_once(base_url: str, path: str, url: str):
    assert Adapter(name="x", label="X", dialects=()).url(base_url, "chat", path) == url


def test_an_adapter_may_have_a_path_of_its_own():
    adapter = Adapter(name="x", label="X", dialects=(), paths={"chat": "/v1/talk"})
    assert adapter.url("https://a/v1", "chat", "/chat/completions") == "https://a/v1/talk"
    assert adapter.url("https://a/v1", "embeddings", "/embeddings") == "https://a/v1/embeddings"


@pytest.mark.parametrize(
    ("authorize", "headers"),
    [
        (bearer, (("Authorization", "Bearer k"),)),
        (x_api_key, (("x-api-key", "k"),)),
        (api_key, (("api-key", "k"),)),
        (x_goog_api_key, (("x-goog-api-key", "k"),)),
    ],
)
def test_without_a_credential_no_header_is_sent(authorize, headers: tuple[tuple[str, str], ...]):
    assert authorize("k") == headers
    assert authorize("") == ()


def test_every_dialect_package_is_registered_under_its_own_name():
    assert sorted(DIALECTS) == PACKAGES
    assert all(name == dialect.name for name, dialect in DIALECTS.items())
    assert set(DIALECTS) <= set(KNOWN_DIALECTS)


@each_dialect
def test_a_dialects_operations_are_its_own(dialect: Dialect):
    assert "chat" in dialect.operations
    for name, operation in dialect.operations.items():
        assert isinstance(operation, Operation)
        assert (operation.name, operation.dialect) == (name, dialect.name)
        assert operation.path.startswith("/")
        assert not operation.path.endswith("/")


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_no_dialect_imports_another(package: str):
    others = [f"providers.dialects.{other}" for other in PACKAGES if other != package]
    assert others
    for path in (FOLDER / package).glob("*.py"):
        for name in imported(path):
            assert not name.startswith(tuple(others)), f"{path.name} imports {name}"
            assert not name.startswith(("routing", "django", "httpx", "aiohttp")), f"{path.name} imports {name}"


def test_what_dialects_share_knows_none_of_them():
    for path in FOLDER.glob("*.py"):
        assert not {name for name in imported(path) for package in PACKAGES if package in name}
