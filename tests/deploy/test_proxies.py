"""The examples of proxies in front: WebSockets pass, nothing is held back or sent twice, metrics stay inside."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from gateway_site.data_plane import PUBLIC_PATHS
from gateway_site.env import envlist
from tests.docs.environment_variables import REPOSITORY, variables

NGINX, CADDY, TRAEFIK = (
    (REPOSITORY / "deploy" / name).read_text(encoding="utf-8")
    for name in ("nginx/tollgate.conf", "caddy/Caddyfile", "traefik/tollgate.yaml")
)
INSIDE = sorted(PUBLIC_PATHS - {"/"})
SETTINGS = ("HTTPS", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "TRUSTED_PROXIES")


def directives(text: str) -> dict[str, str]:
    """nginx's directives of any block, by name; of `proxy_set_header` by the header, too."""
    lines = re.findall(r"^\s*((?:proxy_set_header \S+)|\w+) (.*?);", re.sub(r"#.*", "", text), re.MULTILINE)
    return dict(lines)


def test_nginx_passes_websockets_on():
    found = directives(NGINX)
    assert found["proxy_http_version"] == "1.1"
    assert found["proxy_set_header Upgrade"] == "$http_upgrade"
    assert found["proxy_set_header Connection"] == "$tollgate_connection"
    assert re.search(r"map \$http_upgrade \$tollgate_connection \{\s+default upgrade;", NGINX)


def test_nginx_holds_nothing_back_and_sends_nothing_twice():
    found = directives(NGINX)
    assert {found[name] for name in ("proxy_buffering", "proxy_request_buffering", "gzip", "proxy_next_upstream")} == {
        "off"
    }
    assert found["client_max_body_size"] == "0"
    assert found["proxy_read_timeout"] == "1h"


def test_nginx_believes_nothing_that_a_client_says_of_itself():
    found = directives(NGINX)
    assert found["proxy_set_header X-Forwarded-For"] == "$remote_addr"
    assert found["proxy_set_header X-Forwarded-Proto"] == "https"
    assert found["proxy_set_header Host"] == "$host"


def test_nginx_keeps_metrics_and_probes_inside():
    [pattern] = re.findall(r"location ~ (\S+) \{\s+deny all;", NGINX)
    assert [path for path in INSIDE if not re.search(pattern, path)] == []
    assert not any(re.search(pattern, path) for path in ("/v1/models", "/ws/live/", "/admin/", "/status", "/healthy"))
    assert NGINX.count("{") == NGINX.count("}")


def test_caddy_streams_and_keeps_metrics_and_probes_inside():
    [listed] = re.findall(r"@inside path (.*)", CADDY)
    names = listed.split()
    assert [path for path in INSIDE if path not in names and f"{path.rsplit('/', 1)[0]}/*" not in names] == []
    assert "respond @inside 403" in CADDY
    assert "flush_interval -1" in CADDY
    assert "lb_retries 0" in CADDY
    assert not re.search(r"^\s*(encode|header_up (Connection|Upgrade))\b", CADDY, re.MULTILINE)
    assert CADDY.count("{") == CADDY.count("}")


def test_traefik_streams_and_keeps_metrics_and_probes_inside():
    found: dict[str, Any] = yaml.safe_load(TRAEFIK)["http"]
    rule = found["routers"]["tollgate-inside"]["rule"]
    prefixes = re.findall(r"Path(?:Prefix)?\(`(.*?)`\)", rule)
    assert [path for path in INSIDE if not path.startswith(tuple(prefixes))] == []
    assert found["routers"]["tollgate-inside"]["priority"] > len(found["routers"]["tollgate"]["rule"])
    assert "middlewares" not in found["routers"]["tollgate"]
    kinds = {kind for each in found["middlewares"].values() for kind in each}
    assert not kinds & {"buffering", "compress", "retry"}
    assert found["services"]["tollgate"]["loadBalancer"]["responseForwarding"] == {"flushInterval": "1ms"}


@pytest.mark.parametrize("text", [NGINX, CADDY, TRAEFIK], ids=["nginx", "caddy", "traefik"])
def test_each_says_what_tollgate_has_to_know(text: str, monkeypatch: pytest.MonkeyPatch):
    said = dict(re.findall(r"\b([A-Z_]{5,})=(\S+?)(?:,|\s)", text))
    assert {*SETTINGS} <= {*said}
    assert {*said} <= {*variables()}
    monkeypatch.setenv("TRUSTED_PROXIES", said["TRUSTED_PROXIES"])
    assert envlist("TRUSTED_PROXIES") == ["127.0.0.1"]
