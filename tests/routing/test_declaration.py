"""The file as values: no database here."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from routing.declaration.references import dangling, duplicates
from routing.declaration.schema import Declaration, Names, read_declaration

EXAMPLE = Path(__file__).parents[2] / "gateway.example.yaml"

MINIMAL = """\
providers:
  - slug: openai
    adapter: openai
deployments:
  - slug: mini
    provider: openai
    model: gpt-5-mini
routes:
  - alias: smart
    targets:
      - {deployment: mini}
tenants:
  - slug: acme
"""


def read(text: str, **variables: str) -> Declaration:
    return read_declaration(text, lookup=variables.get)


def messages(declaration: Declaration) -> list[str]:
    return [problem.render("gateway.yaml") for problem in declaration.problems]


def test_it_reads_the_example_with_no_variable_set():
    declaration = read(EXAMPLE.read_text())
    assert messages(declaration) == []
    sections = declaration.sections
    assert [provider.slug for provider in sections.providers] == ["openai", "anthropic", "local"]
    assert [deployment.slug for deployment in sections.deployments][-1] == "local-qwen"
    assert [route.route_name for route in sections.routes] == ["smart", "embed", "acme-private"]
    assert [key.name for key in sections.tenants[0].api_keys] == ["chatbot-production", "laptops"]


def test_it_knows_the_defaults_of_what_is_left_out():
    [provider] = read(MINIMAL).sections.providers
    [route] = read(MINIMAL).sections.routes
    assert (provider.timeouts.connect, provider.breaker.failures, provider.enabled) == (5, 5, None)
    assert (route.strategy, route.retries, route.targets[0].weight) == ("weighted", 1, 100)


@pytest.mark.parametrize("written", ["0.1", '"0.1"', "'0.1'", "1e-1"])
def test_it_reads_money_exactly_quoted_or_not(written: str):
    declaration = read(MINIMAL.replace("model: gpt-5-mini", f"model: m\n    prices: {{input: {written}}}"))
    [price] = declaration.sections.deployments[0].prices
    assert price.input == Decimal("0.1")
    assert isinstance(price.input, Decimal)


def test_it_takes_words_for_text_where_text_belongs():
    declaration = read(MINIMAL.replace("model: gpt-5-mini", "model: 1.0\n    region: no\n    tags: [on, 2024-01-01]"))
    [deployment] = declaration.sections.deployments
    assert (deployment.model, deployment.region, deployment.tags) == ("1.0", "no", ("on", "2024-01-01"))


def test_it_names_file_line_and_path():
    text = "providers:\n  - slug: openai\n    adapter: openai\n    timeouts:\n      total: 600\n      connect: 0\n"
    assert messages(read(text)) == ["gateway.yaml:6: providers[0].timeouts.connect: must be a number above 0"]


@pytest.mark.parametrize(
    ("provider", "problem"),
    [
        ("adapter: opnai", 'adapter: "opnai" is not an adapter; did you mean "openai"?'),
        ("adapter: openai\n    credental: x", 'credental: is not a field; did you mean "credential"?'),
        ("adapter: openai\n    max_connections: many", "max_connections: must be a whole number, at least 1"),
        ("adapter: openai\n    max_connections: 1.5", "max_connections: must be a whole number, at least 1"),
        ("adapter: openai\n    max_connections: '5'", "must be a whole number, at least 1, without quotes"),
        ("adapter: openai\n    timeouts: {total: .inf}", "timeouts.total: must be a number above 0"),
        ("adapter: openai\n    timeouts: 5", "timeouts: must be a mapping of names to values"),
        ("adapter: openai\n    enabled: 1", "enabled: must be true or false"),
        ("adapter: openai\n    enabled: 'true'", "enabled: must be true or false, without quotes"),
        ("adapter: openai\n    dialects: openai_chat", "dialects: must be a list"),
        ("adapter: openai\n    dialects: [openai_chatt]", 'did you mean "openai_chat"?'),
        ("adapter: openai\n    name: [a]", "name: must be text"),
        ('adapter: openai\n    name: "a\\0b"', "name: must not hold control characters"),
        ("adapter: openai\n    name: !vault abc", "name: has the tag !vault"),
        ("adapter: openai\n    queue: {size: -1}", "queue.size: must be a whole number, at least 0"),
        ("adapter: openai\n    queue: {wiat: 1}", 'queue.wiat: is not a field; did you mean "wait"?'),
        ("adapter: openai\n    queue: {wait: 0}", "queue.wait: must be a number above 0"),
        ("adapter: openai\n    http2: maybe", "http2: must be true or false"),
        ("adapter: openai\n    tls: {cert: a}", "tls.cert: is not a field"),
        ('adapter: openai\n    tls: {ca: "a\\0b"}', "tls.ca: must not hold control characters"),
        ('adapter: openai\n    proxy: "http://a\\nb"', "proxy: must not hold control characters"),
        ("name: x", "providers[0]: adapter is missing"),
        ("adapter:", "providers[0].adapter: must be given"),
        ("adapter: openai\n    adapter: groq", "adapter: stands here a second time; the first is in line 3"),
        ("adapter: openai\n    ? [a]\n    : b", "has a name that is not text"),
    ],
)
def test_it_refuses_what_makes_no_sense_for_a_provider(provider: str, problem: str):
    [message] = messages(read(f"providers:\n  - slug: a\n    {provider}\n"))
    assert problem in message


@pytest.mark.parametrize(
    ("tenant", "problem"),
    [
        ("timezone: Mars/Base", "timezone: 'Mars/Base' is not a time zone"),
        ("limits: [{requests: 1}]", "limits[0]: needs per: second, minute, hour or day"),
        ("limits: [{requests: 0, per: day}]", "limits[0].requests: must be a whole number, at least 1"),
        ("limits: [{requests: 1, tokens: 2, per: day}]", "limits[0]: needs exactly one of"),
        ("limits: [{concurrency: 1, per: day}]", "limits[0].per: has no meaning for concurrency"),
        ("limits: [{tokens: 1, per: day, burst: 2}]", "limits[0].burst: has a meaning for requests only"),
        ("limits: [{tokens: 1, per: week}]", 'limits[0].per: "week" is not a time'),
        ("budgets: [{amount: -5}]", "budgets[0].amount: must not be negative"),
        ("budgets: [{amount: nan}]", "budgets[0].amount: must be an amount"),
        ("budgets: [{per: month}]", "budgets[0]: amount is missing"),
        ("budgets: [{amount: 5, currency: UDS}]", 'budgets[0].currency: "UDS" is not a currency'),
        ("budgets: [{amount: 5, per: year}]", 'budgets[0].per: "year" is not a period'),
        ("budgets: [{amount: 5, hard: maybe}]", "budgets[0].hard: must be true or false"),
        ("budgets: [{amount: .inf}]", "budgets[0].amount: must be an amount"),
        ("budgets: [{amount: 5, per: rolling}]", "budgets[0]: needs days"),
        ("budgets: [{amount: 5, per: rolling, days: 0}]", "budgets[0].days: must be a whole number, from 1 to 366"),
        ("budgets: [{amount: 5, days: 7}]", "budgets[0].days: has a meaning for per: rolling only"),
        ("budgets: [{amount: 5, alert_at: [0]}]", "budgets[0].alert_at[0]: must be a whole number, from 1 to 1000"),
        ("budgets: [{amount: 5, alert_at: [80, 80]}]", "budgets[0].alert_at: has 80 twice"),
        ("budgets: [{amount: 5, increase: {amount: 2}}]", "budgets[0].increase: needs until"),
        ("budgets: [{amount: 5, increase: {until: 2026-12-01}}]", "budgets[0].increase: needs an amount"),
        (
            "budgets: [{amount: 5, increase: {amount: -2, until: 2026-12-01}}]",
            "budgets[0].increase.amount: must not be negative",
        ),
        (
            "budgets: [{amount: 5, increase: {amount: 2, until: never}}]",
            "budgets[0].increase.until: must be a date such as",
        ),
        ("alerts: {emails: [nobody]}", "alerts.emails[0]: Enter a valid email address"),
        ("api_keys: [{name: k, secret: short}]", "api_keys[0].secret: A secret has 20 to 256 characters"),
        ("api_keys: [{name: k, secret: 'twenty characters and blanks'}]", "api_keys[0].secret: A secret has"),
        ("api_keys: [{name: k, expires_at: soon}]", "api_keys[0].expires_at: must be a date such as"),
        ("api_keys: [{name: k, expires_at: 2027-02-30}]", "api_keys[0].expires_at: must be a date such as"),
        ("api_keys: [{name: k, priority: urgent}]", 'api_keys[0].priority: "urgent" is not a priority'),
        ("api_keys: [{name: k, trace: maybe}]", "api_keys[0].trace: must be true or false"),
        ("without_valkey: hope", 'without_valkey: "hope" is not a way to go on without Valkey'),
        ("unmapped_models: some", "unmapped_models: must be true or false"),
        ("translation_policy: sometimes", 'translation_policy: "sometimes" is not a policy'),
    ],
)
def test_it_refuses_what_makes_no_sense_for_a_tenant(tenant: str, problem: str):
    [message] = messages(read(f"tenants:\n  - slug: acme\n    {tenant}\n"))
    assert f"gateway.yaml:3: tenants[0].{problem}" in message


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        ("alias: smart, strategy: weigthed", 'did you mean "weighted"?'),
        ("alias: smart, retries: 11", "retries: must be a whole number, from 0 to 10"),
        ("alias: smart, hedge: often", "hedge: must be true or false"),
        ("alias: a b", "alias: An alias has no blanks"),
        ("alias: a*b", "alias: A star may only stand at the end"),
        ("strategy: weighted", "routes[0]: needs an alias or a name"),
    ],
)
def test_it_refuses_what_makes_no_sense_for_a_route(route: str, problem: str):
    [message] = messages(read(f"routes:\n  - {{{route}, targets: []}}\n"))
    assert problem in message


@pytest.mark.parametrize(
    ("prices", "problem"),
    [
        ("{input: -1}", "prices.input: must not be negative"),
        ("{input: abc}", "prices.input: must be an amount, such as 2.50"),
        ("{per: 1000}", "prices: needs at least one price"),
        ("{input: 1, per: 0}", "prices.per: must be a whole number, at least 1"),
        ("{input: 1, tiers: [{input: 2}]}", "prices.tiers[0]: above is missing"),
        ("[{input: 1}, {input: 2}]", "prices: has two prices that begin at the same time"),
    ],
)
def test_it_refuses_prices_that_make_no_sense(prices: str, problem: str):
    [message] = messages(read(f"deployments:\n  - {{slug: a, provider: b, model: c, prices: {prices}}}\n"))
    assert problem in message


def test_it_notes_every_problem_and_not_only_the_first():
    text = """\
providers:
  - {slug: a, adapter: nothing, max_connections: 0}
deployments:
  - {slug: b, provider: a, model: m, prices: {input: -1, output: -2}}
routes:
  - {alias: c, retries: -1, targets: [{deployment: b, weight: heavy}, {deployment: b, priority: high}]}
tenants:
  - {slug: d, budgets: [{amount: x}], api_keys: [{name: k, secret: short}]}
nonsense: 1
"""
    assert [problem.path for problem in read(text).problems] == [
        "nonsense",
        "providers[0].adapter",
        "providers[0].max_connections",
        "deployments[0].prices.input",
        "deployments[0].prices.output",
        "routes[0].retries",
        "routes[0].targets[0].weight",
        "routes[0].targets[1].priority",
        "tenants[0].budgets[0].amount",
        "tenants[0].api_keys[0].secret",
    ]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: [1,\nb: 2", 2, "is not YAML: while parsing a flow sequence"),
        ("a: 1\n b: 2", 2, "is not YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2", 2, "is not YAML: expected a single document"),
        ("a: *nobody", 1, "is not YAML: found undefined alias 'nobody'"),
        ("a: 1\nb: \x07", 2, "is not YAML: the character U+0007 is not allowed"),
        ("", 1, "the file is empty"),
        ("# nothing but a comment\n", 1, "the file is empty"),
        ("- a\n- b\n", 1, "must be a mapping of names to values"),
        ("[" * 5000, 1, "is nested too deeply"),
    ],
)
def test_it_refuses_what_is_not_a_configuration(text: str, line: int, problem: str):
    [message] = messages(read(text))
    assert message.startswith(f"gateway.yaml:{line}: {problem}")


def test_it_takes_anchors():
    text = "tenants:\n  - slug: a\n    limits: &usual [{requests: 5, per: day}]\n  - {slug: b, limits: *usual}\n"
    first, second = read(text).sections.tenants
    assert first.limits is not None
    assert [limit.amount for limit in first.limits] == [5]
    assert second.limits is not None
    assert [limit.amount for limit in second.limits] == [5]


def test_it_is_not_trapped_by_an_anchor_in_itself():
    assert "must be text" in messages(read("tenants:\n  - {slug: a, models: &all [*all]}\n"))[0]


# --- Variables ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "credential"),
    [
        ("${KEY}", "sk-1"),
        ('"${KEY}"', "sk-1"),
        ("Bearer-${KEY}-x", "Bearer-sk-1-x"),
        ("${KEY:-default}", "sk-1"),
        ("${OTHER:-default}", "default"),
        ('"${OTHER:-}"', ""),
        ("$${KEY}", "${KEY}"),
        ("$KEY", "$KEY"),
        ("pa$$word", "pa$$word"),
    ],
)
def test_it_reads_variables(written: str, credential: str):
    text = f"providers:\n  - slug: a\n    adapter: openai\n    credential: {written}\n"
    declaration = read(text, KEY="sk-1")
    assert messages(declaration) == []
    assert declaration.sections.providers[0].credential == credential


def test_it_reads_numbers_and_switches_from_variables():
    text = 'providers:\n  - {slug: a, adapter: openai, max_connections: "${N}", enabled: "${ON:-false}"}\n'
    [provider] = read(text, N="7").sections.providers
    assert (provider.max_connections, provider.enabled) == (7, False)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("${MISSING}", "the environment variable MISSING is not set"),
        ("${EMPTY}", "the environment variable EMPTY is not set"),
        ("${1KEY}", "has a malformed variable"),
        ("'${KEY'", "has a malformed variable"),
        ("${}", "has a malformed variable"),
    ],
)
def test_it_refuses_variables_that_are_not_there(written: str, problem: str):
    text = f"providers:\n  - slug: a\n    adapter: openai\n    credential: {written}\n"
    [message] = messages(read(text, KEY="sk-1", EMPTY=""))
    assert message.startswith(f"gateway.yaml:4: providers[0].credential: {problem}")


def test_it_never_shows_what_a_variable_holds():
    text = "providers:\n  - {slug: a, adapter: '${SECRET}', credential: [x]}\ntenants:\n  - {slug: '${SECRET}'}\n"
    declaration = read(text, SECRET="sk hush")
    assert len(declaration.problems) == 3
    assert "hush" not in "".join(messages(declaration))


# --- Dates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2027-12-31", datetime(2027, 12, 31, 23, 59, 59, 999_999, UTC)),
        ("2027-12-31T18:00:00Z", datetime(2027, 12, 31, 18, tzinfo=UTC)),
        ("2027-12-31 18:00:00", datetime(2027, 12, 31, 18, tzinfo=UTC)),
        ("2027-12-31T18:00:00+02:00", datetime(2027, 12, 31, 16, tzinfo=UTC)),
    ],
)
def test_a_key_expires_at_the_end_of_its_last_day(written: str, moment: datetime):
    text = f"tenants:\n  - slug: a\n    api_keys: [{{name: k, expires_at: {written}}}]\n"
    assert read(text).sections.tenants[0].api_keys[0].expires_at == moment


def test_a_price_begins_with_its_first_day():
    prices = "{input: 1, effective_from: 2027-01-01}"
    text = f"deployments:\n  - {{slug: a, provider: b, model: c, prices: {prices}}}\n"
    [price] = read(text).sections.deployments[0].prices
    assert price.effective_from == datetime(2027, 1, 1, tzinfo=UTC)


# --- Names -------------------------------------------------------------------------------------------------


def test_it_finds_references_to_nothing():
    text = """\
deployments:
  - {slug: mini, provider: opena, model: m}
routes:
  - {alias: smart, tenant: zoe, retries: -1, targets: [{deployment: minni}]}
tenants:
  - {slug: alice, projects: [{slug: chatbot}], api_keys: [{name: k, project: chatbt}]}
  - {slug: bob, api_keys: [{name: k, project: chatbot}]}
"""
    stored = Names(providers=frozenset({"openai"}))
    assert [(problem.line, problem.message) for problem in dangling(read(text), stored)] == [
        (2, 'there is no provider "opena"; did you mean "openai"?'),
        (4, 'there is no deployment "minni"; did you mean "mini"?'),
        (4, 'there is no tenant "zoe"'),
        (6, 'there is no project "chatbt"; did you mean "chatbot"?'),
        (7, 'there is no project "chatbot"'),
    ]


def test_a_broken_entry_is_not_missing():
    text = "providers:\n  - {slug: a, adapter: nothing}\ndeployments:\n  - {slug: b, provider: a, model: m}\n"
    assert list(dangling(read(text), Names())) == []


def test_it_finds_names_that_stand_twice():
    text = """\
providers:
  - {slug: a, adapter: openai}
  - {slug: a, adapter: groq, max_connections: 0}
routes:
  - {alias: x, targets: [{deployment: d}, {deployment: d}]}
  - {alias: y, aliases: [x], targets: []}
  - {alias: z, name: x, targets: []}
  - {alias: x, tenant: t, targets: []}
tenants:
  - slug: t
    projects: [{slug: p}, {slug: p}]
    api_keys: [{name: k}, {name: k}]
  - {slug: u, projects: [{slug: p}], api_keys: [{name: k}]}
"""
    found = {problem.path: problem.message for problem in duplicates(read(text))}
    assert found == {
        "providers[1].slug": '"a" is already in line 2',
        "routes[0].targets[1].deployment": '"d" is already in line 5',
        "routes[1].aliases[0]": '"x" is already in line 5',
        "routes[2].name": '"x" is already in line 5',
        "tenants[0].projects[1].slug": '"p" is already in line 11',
        "tenants[0].api_keys[1].name": '"k" is already in line 12',
    }


def test_aliases_may_say_whose_they_are():
    [route] = read("routes:\n  - {alias: a, aliases: [b, {alias: c, tenant: t}], targets: []}\n").sections.routes
    assert [(each.tenant, each.alias) for each in route.all_aliases] == [(None, "a"), (None, "b"), ("t", "c")]


def test_a_tenants_route_is_called_after_both():
    [route] = read("routes:\n  - {alias: a, tenant: t, targets: []}\n").sections.routes
    assert route.route_name == "t/a"
