"""How each tool is pointed at the gateway: values in, text to copy out. Pure.

The connect page and the page of a new key show the same; only the first has no secret to fill in. What tools expect is
told by their own documentation: https://code.claude.com/docs/en/llm-gateway,
https://developers.openai.com/codex/config-reference, https://ai-sdk.dev/providers, https://docs.openwebui.com.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from routing.examples import Ask, Connection, code_for, shell, text_of

NO_MODEL = "your-model"
SECRET_PLACE = "tg_…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is filled into the settings of a tool."""

    connection: Connection
    model: str = NO_MODEL
    has_secret: bool = False  # whether the connection's key is one, or only stands for one
    dialect: str = "openai_chat"  # what the model's first deployment speaks


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """A text to copy."""

    title: str
    language: str  # json, toml, shell, python, javascript
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool with what to paste, and what to know of it."""

    slug: str
    name: str
    icon: str
    snippets: tuple[Snippet, ...]
    notes: tuple[str, ...] = ()


def tools(setup: Setup) -> tuple[Tool, ...]:
    """Return how to set up each tool."""
    return tuple(make(setup) for make in _TOOLS)


# --- Coding agents -----------------------------------------------------------------------------------------


def _claude_code(setup: Setup) -> Tool:
    environment = claude_code_environment(setup)
    settings = json.dumps({"env": environment}, indent=2, ensure_ascii=False)
    return Tool(
        slug="claude-code",
        name="Claude Code",
        icon="terminal",
        snippets=(
            _install(setup),
            Snippet(title="Or by hand, in ~/.claude/settings.json", language="json", text=settings),
            Snippet(title="Or for one shell only", language="shell", text=_exports(environment) + "\nclaude"),
        ),
        notes=(
            "ANTHROPIC_AUTH_TOKEN is sent as a bearer token, with no question asked. ANTHROPIC_API_KEY stays empty: a key "
            "of Anthropic's in your environment would come first.",
            "The base URL has no /v1 at its end.",
            "Claude Code asks for several models by name; the ANTHROPIC_DEFAULT_… variables lead them all to the one "
            "that you chose. Leave them out where your gateway has aliases such as claude-*.",
        ),
    )


def claude_code_environment(setup: Setup) -> dict[str, str]:
    """Return the variables that Claude Code reads, as the `env` of its settings has them."""
    names = ("OPUS", "SONNET", "HAIKU", "FABLE")
    return {
        "ANTHROPIC_BASE_URL": setup.connection.origin,
        "ANTHROPIC_AUTH_TOKEN": setup.connection.key,
        "ANTHROPIC_API_KEY": "",
        "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1",
        "ANTHROPIC_MODEL": setup.model,
        **{f"ANTHROPIC_DEFAULT_{name}_MODEL": setup.model for name in names},
    }


def _codex(setup: Setup) -> Tool:
    return Tool(
        slug="codex",
        name="Codex",
        icon="terminal",
        snippets=(
            _install(setup),
            Snippet(title="Or by hand, in ~/.codex/config.toml", language="toml", text=codex_config(setup)),
            Snippet(
                title="The key, where Codex is started",
                language="shell",
                text=_exports({"TOLLGATE_API_KEY": setup.connection.key}) + "\ncodex",
            ),
        ),
        notes=(
            'wire_api has to be "responses": Codex speaks nothing else. The gateway translates for models that do not.',
            "The base URL ends in /v1.",
            "model and model_provider stand above the first [table] of the file.",
        ),
    )


def codex_config(setup: Setup) -> str:
    """Return what stands in Codex's config.toml."""
    return "\n".join(
        (
            f"model = {text_of(setup.model)}",
            'model_provider = "tollgate"',
            "",
            "[model_providers.tollgate]",
            'name = "Tollgate"',
            f"base_url = {text_of(setup.connection.openai_base)}",
            'env_key = "TOLLGATE_API_KEY"',
            'wire_api = "responses"',
        )
    )


def _install(setup: Setup) -> Snippet:
    script = shell(f"{setup.connection.origin}/install.sh")
    key = f"TOLLGATE_API_KEY={shell(setup.connection.key)} " if setup.has_secret else ""
    model = f" -s -- {shell(f'--model={setup.model}')}" if setup.model != NO_MODEL else ""
    return Snippet(
        title="In one command, for Claude Code and Codex" + ("" if setup.has_secret else "; it asks for your key"),
        language="shell",
        text=f"curl -sSL {script} | {key}bash{model}",
    )


def _exports(variables: dict[str, str]) -> str:
    return "\n".join(f"export {name}={shell(value)}" for name, value in variables.items())


# --- SDKs --------------------------------------------------------------------------------------------------


def _code(setup: Setup, dialect: str, language: str, title: str) -> Snippet:
    ask = Ask(dialect=dialect, model=setup.model, max_tokens=256 if dialect == "anthropic_messages" else None)
    return Snippet(title=title, language=language, text=code_for(ask, setup.connection, language).rstrip("\n"))


def _sdk(
    setup: Setup, dialect: str, *, python: str, javascript: str, variables: dict[str, str]
) -> tuple[Snippet, Snippet, Snippet]:
    """A vendor's SDK, in both languages by the name of its package, and what a program reads that is there already."""
    return (
        _code(setup, dialect, "python", f"Python: pip install {python}"),
        _code(setup, dialect, "javascript", f"JavaScript: npm install {javascript}"),
        Snippet(title="Or leave your program as it is", language="shell", text=_exports(variables)),
    )


def _openai(setup: Setup) -> Tool:
    variables = {"OPENAI_BASE_URL": setup.connection.openai_base, "OPENAI_API_KEY": setup.connection.key}
    return Tool(
        slug="openai",
        name="OpenAI SDK",
        icon="code",
        snippets=_sdk(setup, "openai_chat", python="openai", javascript="openai", variables=variables),
        notes=(
            "The base URL ends in /v1.",
            "client.responses works as well as client.chat.completions, with any model.",
        ),
    )


def _anthropic(setup: Setup) -> Tool:
    variables = {"ANTHROPIC_BASE_URL": setup.connection.origin, "ANTHROPIC_API_KEY": setup.connection.key}
    return Tool(
        slug="anthropic",
        name="Anthropic SDK",
        icon="code",
        snippets=_sdk(
            setup, "anthropic_messages", python="anthropic", javascript="@anthropic-ai/sdk", variables=variables
        ),
        notes=(
            "The base URL has no /v1 at its end: the SDK adds it.",
            "max_tokens is required. It is also what a budget holds back until the answer has ended, so keep it honest.",
        ),
    )


def _google(setup: Setup) -> Tool:
    variables = {"GOOGLE_GEMINI_BASE_URL": setup.connection.origin, "GEMINI_API_KEY": setup.connection.key}
    return Tool(
        slug="google",
        name="Google Gen AI SDK",
        icon="code",
        snippets=_sdk(setup, "gemini", python="google-genai", javascript="@google/genai", variables=variables),
        notes=("The base URL has neither /v1 nor /v1beta at its end.",),
    )


# --- Frameworks --------------------------------------------------------------------------------------------


def _langchain(setup: Setup) -> Tool:
    model, key = text_of(setup.model), text_of(setup.connection.key)
    openai = f"""from langchain_openai import ChatOpenAI

llm = ChatOpenAI(
    base_url={text_of(setup.connection.openai_base)},
    api_key={key},
    model={model},
    stream_usage=True,
)
print(llm.invoke("Say hello in one sentence.").content)"""
    anthropic = f"""from langchain_anthropic import ChatAnthropic

llm = ChatAnthropic(
    base_url={text_of(setup.connection.origin)},
    api_key={key},
    model={model},
    max_tokens=1024,
)
print(llm.invoke("Say hello in one sentence.").content)"""
    return Tool(
        slug="langchain",
        name="LangChain",
        icon="link",
        snippets=(
            Snippet(title="OpenAI's format: pip install langchain-openai", language="python", text=openai),
            Snippet(title="Anthropic's format: pip install langchain-anthropic", language="python", text=anthropic),
        ),
        notes=(
            "With a base URL of one's own, LangChain asks for token counts of streams only with stream_usage=True.",
            "Take the class of the format that your model speaks best; both work with any model.",
        ),
    )


def _vercel(setup: Setup) -> Tool:
    base, key, model = (
        text_of(setup.connection.openai_base),
        text_of(setup.connection.key),
        text_of(setup.model),
    )
    openai = f"""import {{ createOpenAI }} from "@ai-sdk/openai";
import {{ generateText }} from "ai";

const tollgate = createOpenAI({{
  baseURL: {base},
  apiKey: {key},
}});
const {{ text }} = await generateText({{
  model: tollgate({model}),
  prompt: "Say hello in one sentence.",
}});
console.log(text);"""
    anthropic = f"""import {{ createAnthropic }} from "@ai-sdk/anthropic";
import {{ generateText }} from "ai";

const tollgate = createAnthropic({{
  baseURL: {base},
  apiKey: {key},
}});
const {{ text }} = await generateText({{
  model: tollgate({model}),
  prompt: "Say hello in one sentence.",
}});
console.log(text);"""
    return Tool(
        slug="ai-sdk",
        name="Vercel AI SDK",
        icon="change_history",
        snippets=(
            Snippet(title="OpenAI's format: npm install ai @ai-sdk/openai", language="javascript", text=openai),
            Snippet(
                title="Anthropic's format: npm install ai @ai-sdk/anthropic", language="javascript", text=anthropic
            ),
        ),
        notes=(
            "Both base URLs end in /v1, Anthropic's too.",
            "tollgate(…) of @ai-sdk/openai speaks the Responses format, tollgate.chat(…) chat completions.",
        ),
    )


def _open_webui(setup: Setup) -> Tool:
    variables = {"OPENAI_API_BASE_URL": setup.connection.openai_base, "OPENAI_API_KEY": setup.connection.key}
    options = "".join(f" \\\n  -e {shell(f'{name}={value}')}" for name, value in variables.items())
    text = (
        f"docker run -d --name open-webui -p 3000:8080 -v open-webui:/app/backend/data{options}"
        " \\\n  -e ENABLE_OLLAMA_API=false \\\n  ghcr.io/open-webui/open-webui:main"
    )
    form = f"URL: {setup.connection.openai_base}\nKey: {setup.connection.key}"
    return Tool(
        slug="open-webui",
        name="Open WebUI",
        icon="forum",
        snippets=(
            Snippet(title="Where it runs: Admin settings, Connections, OpenAI API", language="text", text=form),
            Snippet(title="A new one", language="shell", text=text),
        ),
        notes=(
            "It lists the models that your key may use by itself.",
            "The variables count at the first start only; later the connection is changed in its admin settings.",
            "In a container, localhost is the container: give the address that it reaches this gateway at.",
        ),
    )


def _curl(setup: Setup) -> Tool:
    connection = setup.connection
    header = shell(f"Authorization: Bearer {connection.key}")
    models = f"curl {shell(connection.openai_base + '/models')} \\\n  -H {header}"
    chat = _code(setup, "openai_chat", "curl", "OpenAI's format")
    messages = _code(setup, "anthropic_messages", "curl", "Anthropic's format")
    first, second = (messages, chat) if setup.dialect == "anthropic_messages" else (chat, messages)
    shown = (first, second, Snippet(title="The models that your key may use", language="shell", text=models))
    return Tool(
        slug="curl",
        name="curl",
        icon="http",
        snippets=shown,
        notes=(
            "The key goes into Authorization: Bearer …, x-api-key or x-goog-api-key, whichever your client sends.",
            "The x-tollgate-… headers of an answer (curl -i) tell who has answered and what it cost.",
        ),
    )


_TOOLS: tuple[Callable[[Setup], Tool], ...] = (
    _claude_code,
    _codex,
    _openai,
    _anthropic,
    _google,
    _langchain,
    _vercel,
    _open_webui,
    _curl,
)
