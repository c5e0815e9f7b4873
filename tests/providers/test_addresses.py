"""A base URL must not reach inside."""

import pytest

from providers.addresses import is_private, refuse_private_address, validate_base_url


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com",
        "http://api.example.com/v1",
        "https://api.example.com:8443/a/b",
        "HTTPS://EXAMPLE.COM",
        "http://127.0.0.1:8000",
        "http://[::1]:8000/v1",
    ],
)
def test_it_takes_web_addresses(url: str):
    validate_base_url(url)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "starts with https://"),
        ("api.example.com", "starts with https://"),
        ("ftp://api.example.com", "starts with https://"),
        ("file:///etc/passwd", "starts with https://"),
        ("https://", "starts with https://"),
        ("https:///v1", "starts with https://"),
        ("https://user@api.example.com", "credential"),
        ("https://user:secret@api.example.com", "credential"),
        ("https://:secret@api.example.com", "credential"),
        ("https://api.example.com?key=1", "no query"),
        ("https://api.example.com#a", "no fragment"),
        ("https://api.example.com:99999", "port"),
        ("https://api.example.com:http", "port"),
        ("https://[::1", "IPv6"),
    ],
)
def test_it_says_what_is_wrong_with_an_address(url: str, sentence: str):
    with pytest.raises(ValueError, match=sentence) as caught:
        validate_base_url(url)
    assert "secret" not in str(caught.value)


PRIVATE = (
    *("127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254"),
    *("0.0.0.0", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "ff0e::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:a00:1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"),
)
PUBLIC = (
    *("8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"),
    *("example.com", "localhost", ""),  # names are no addresses
)


@pytest.mark.parametrize("host", PRIVATE)
def test_it_knows_addresses_that_are_not_public(host: str):
    assert is_private(host)


@pytest.mark.parametrize("host", PUBLIC)
def test_it_lets_public_addresses_pass(host: str):
    assert not is_private(host)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000",
        "http://LOCALHOST",
        "http://api.localhost",
        "http://metadata.google.internal/v1",
        "http://service.internal",
        "http://ip6-localhost",
        "http://10.0.0.1",
        "http://[::1]:80",
        "http://[::ffff:169.254.169.254]",
    ],
)
def test_it_refuses_visibly_private_hosts(url: str):
    with pytest.raises(ValueError, match="private network; set 'allow_private_address'"):
        refuse_private_address(url)


@pytest.mark.parametrize("url", ["https://api.openai.com/v1", "https://internal.example.com", "http://8.8.8.8"])
def test_it_does_not_refuse_others(url: str):
    refuse_private_address(url)
