"""How providers are connected to, as a snapshot says, with the secrets that could be decrypted."""

from providers.pool import UNREADABLE
from routing.snapshot import LiveSnapshot, Provider, Secrets, Snapshot, pool_of

PROVIDER = Provider(
    slug="p",
    adapter="openai_compatible",
    base_url="https://upstream/v1",
    dialects=("openai_chat",),
    http2=True,
    proxy="encrypted",
    ca_certificate="ours",
    client_certificate="shown",
    client_key="encrypted too",
)
SECRETS = Secrets(credential="sk-secret", proxy="http://u:secret@proxy:3128", client_key="secret key")


def test_a_pool_has_all_that_makes_connections_different():
    pool = pool_of(PROVIDER, SECRETS)
    assert (pool.provider, pool.http2, pool.proxy) == ("p", True, "http://u:secret@proxy:3128")
    assert (pool.ca_certificate, pool.client_certificate, pool.client_key) == ("ours", "shown", "secret key")


def test_a_proxy_that_cannot_be_decrypted_is_not_gone_around():
    assert pool_of(PROVIDER, Secrets()).proxy == UNREADABLE
    assert pool_of(Provider(slug="p", adapter="groq", base_url="https://x", dialects=()), Secrets()).proxy == ""


def test_secrets_are_not_shown():
    assert "secret" not in f"{SECRETS!r} {pool_of(PROVIDER, SECRETS)!r}"


def test_every_provider_has_a_pool_with_or_without_deployments():
    other = Provider(slug="q", adapter="groq", base_url="https://x", dialects=(), catalogue=("some-model",))
    pools = LiveSnapshot(Snapshot(providers=(PROVIDER, other)), {"p": SECRETS}).pools
    assert {(pool.provider, pool.client_key) for pool in pools} == {("p", "secret key"), ("q", "")}
