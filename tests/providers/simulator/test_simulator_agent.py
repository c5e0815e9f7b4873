"""The agent preset, driven as coding agents drive a model: with their tools, which are really carried out."""

import subprocess
from pathlib import Path

import orjson
import pytest

from providers.simulator.agent import LINE, NO_TOOL, Move, play
from providers.simulator.ask import Ask, Tool, ToolKind

STRING = {"type": "string"}
WRITE = {"type": "object", "properties": {"file_path": STRING, "content": STRING}, "required": ["file_path", "content"]}
READ = {"type": "object", "properties": {"file_path": STRING, "offset": {"type": "integer"}}, "required": ["file_path"]}
BASH = {"type": "object", "properties": {"command": STRING, "description": STRING}, "required": ["command"]}
EXEC = {"type": "object", "properties": {"cmd": STRING, "login": {"type": "boolean"}}, "required": ["cmd"]}
SHELL = {"type": "object", "properties": {"command": {"type": "array", "items": STRING}}, "required": ["command"]}
FREE = {"type": "object", "properties": {"input": STRING}, "required": ["input"]}
AGENT = {"name": "Agent", "schema": {"type": "object", "properties": {"prompt": STRING}}}


def tool(name, schema=None, kind=ToolKind.FUNCTION, namespace=""):
    return Tool(name=name, schema=schema or {}, kind=kind, namespace=namespace)


def moves(tools, task="write /project/tollgate.txt"):
    first = play(Ask(tools=tools, task=task))
    second = play(Ask(tools=tools, task=task, results=("done",)))
    return first, second


@pytest.mark.parametrize(
    ("tools", "write", "read"),
    [
        (
            (tool(**AGENT), tool("Bash", BASH), tool("Read", READ), tool("Write", WRITE)),
            ("Write", {"file_path": "/project/tollgate.txt", "content": f"{LINE}\n"}),
            ("Read", {"file_path": "/project/tollgate.txt"}),
        ),
        (
            (tool("functions__Write", WRITE), tool("functions__Read", READ)),
            ("functions__Write", {"file_path": "/project/tollgate.txt", "content": f"{LINE}\n"}),
            ("functions__Read", {"file_path": "/project/tollgate.txt"}),
        ),
        (
            (tool("Bash", BASH),),
            ("Bash", {"command": f"printf '%s\\n' '{LINE}' > /project/tollgate.txt"}),
            ("Bash", {"command": "cat /project/tollgate.txt"}),
        ),
        (
            (tool("exec_command", EXEC), tool("write_stdin", {"type": "object"})),
            ("exec_command", {"cmd": f"printf '%s\\n' '{LINE}' > /project/tollgate.txt"}),
            ("exec_command", {"cmd": "cat /project/tollgate.txt"}),
        ),
        (
            (tool("shell", SHELL), tool("apply_patch", kind=ToolKind.CUSTOM)),
            ("shell", {"command": ["bash", "-lc", f"printf '%s\\n' '{LINE}' > /project/tollgate.txt"]}),
            ("shell", {"command": ["bash", "-lc", "cat /project/tollgate.txt"]}),
        ),
        (
            (tool("shell", kind=ToolKind.SHELL),),
            ("shell", {"commands": [f"printf '%s\\n' '{LINE}' > /project/tollgate.txt"]}),
            ("shell", {"commands": ["cat /project/tollgate.txt"]}),
        ),
        (
            (tool("local_shell", kind=ToolKind.LOCAL_SHELL),),
            (
                "local_shell",
                {
                    "type": "exec",
                    "command": ["bash", "-lc", f"printf '%s\\n' '{LINE}' > /project/tollgate.txt"],
                    "env": {},
                },
            ),
            ("local_shell", {"type": "exec", "command": ["bash", "-lc", "cat /project/tollgate.txt"], "env": {}}),
        ),
    ],
)
def test_it_finds_the_tools_that_write_and_read(tools, write, read):
    for move, expected in zip(moves(tools), (write, read), strict=True):
        assert isinstance(move, Move)
        assert (move.tool.name, orjson.loads(move.said)) == expected


def test_it_writes_javascript_where_codex_runs_it():
    free = moves((tool("exec", kind=ToolKind.CUSTOM, namespace="functions"),))
    assert free[1].said == (
        'const result = await tools.exec_command({"cmd":"cat /project/tollgate.txt"}); text(result.output);'
    )
    made_function = moves((tool("functions__exec", FREE),))
    assert orjson.loads(made_function[1].said) == {"input": free[1].said}


def test_it_patches_where_nothing_else_writes():
    tools = (tool("apply_patch", kind=ToolKind.CUSTOM), tool("read_file", READ))
    write, read = moves(tools)
    assert write.said == f"*** Begin Patch\n*** Add File: /project/tollgate.txt\n+{LINE}\n*** End Patch\n"
    assert read.tool.name == "read_file"


def test_it_fills_in_whatever_else_a_tool_requires():
    schema = {**BASH, "required": ["command", "description", "unknown"]}
    write, _ = moves((tool("Bash", schema),))
    assert orjson.loads(write.said).keys() == {"command", "description", "unknown"}


def test_it_works_where_it_is_told_to():
    assert "/a/b-c/tollgate.txt" in moves((tool("Bash", BASH),), "in `/a/b-c/tollgate.txt`, please")[0].said
    assert "/a/b/tollgate.txt" in moves((tool("Bash", BASH),), "<cwd>/a/b</cwd> write tollgate.txt")[0].said
    assert "cat tollgate.txt" in moves((tool("Bash", BASH),), "write tollgate.txt")[1].said


def test_it_says_so_when_no_tool_will_do():
    assert moves((tool(**AGENT),)) == (NO_TOOL, NO_TOOL)


# Played with real tools, in every dialect, streamed and whole.


class Workshop:
    """Carries out the calls of an agent in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "tollgate.txt"
        self.prompt = f"Write a line to {self.path} and read it back."

    def carry_out(self, name: str, arguments: dict) -> str:
        match name:
            case "Write":
                Path(arguments["file_path"]).write_text(arguments["content"])
                return "written"
            case "Read":
                return Path(arguments["file_path"]).read_text()
        return subprocess.run(["bash", "-c", arguments["command"]], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def workshop(tmp_path):
    return Workshop(tmp_path)


def schemas(names):
    return {name: {"Write": WRITE, "Read": READ, "Bash": BASH}[name] for name in names}


TOOLSETS = [("Write", "Read", "Bash"), ("Bash",)]
MODELS = ["sim-agent", "sim-sealed-agent"]


@pytest.mark.parametrize("names", TOOLSETS)
@pytest.mark.parametrize("model", MODELS)
async def test_it_works_with_messages(anthropic_client, simulator, workshop, names, model):
    tools = [{"name": name, "input_schema": schema} for name, schema in schemas(names).items()]
    messages = [{"role": "user", "content": workshop.prompt}]
    for _ in range(3):
        async with anthropic_client.messages.stream(
            model=model, max_tokens=1000, messages=messages, tools=tools
        ) as stream:
            said = await stream.get_final_message()
        calls = [block for block in said.content if block.type == "tool_use"]
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": workshop.carry_out(call.name, call.input)}
            for call in calls
        ]
        messages += [{"role": "assistant", "content": said.content}, {"role": "user", "content": results}]
    assert said.content[-1].text == LINE
    assert workshop.path.read_text() == f"{LINE}\n"
    assert simulator.counters.seals == 3


@pytest.mark.parametrize("names", TOOLSETS)
@pytest.mark.parametrize("model", MODELS)
async def test_it_works_with_chat_completions(openai_client, workshop, names, model):
    tools = [
        {"type": "function", "function": {"name": name, "parameters": schema}}
        for name, schema in schemas(names).items()
    ]
    messages = [{"role": "user", "content": workshop.prompt}]
    for _ in range(3):
        completion = await openai_client.chat.completions.create(model=model, messages=messages, tools=tools)
        said = completion.choices[0].message
        messages.append(said.model_dump(exclude_none=True))
        for call in said.tool_calls or ():
            result = workshop.carry_out(call.function.name, orjson.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    assert said.content == LINE
    assert workshop.path.read_text() == f"{LINE}\n"


@pytest.mark.parametrize("names", TOOLSETS)
@pytest.mark.parametrize("model", MODELS)
async def test_it_works_with_responses(openai_client, simulator, workshop, names, model):
    tools = [{"type": "function", "name": name, "parameters": schema} for name, schema in schemas(names).items()]
    history = [{"role": "user", "content": workshop.prompt}]
    for _ in range(3):
        async with openai_client.responses.stream(
            model=model, input=history, tools=[{**each, "strict": False} for each in tools], store=False
        ) as stream:
            response = await stream.get_final_response()
        history += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in response.output]
        for call in [item for item in response.output if item.type == "function_call"]:
            result = workshop.carry_out(call.name, orjson.loads(call.arguments))
            history.append({"type": "function_call_output", "call_id": call.call_id, "output": result})
    assert response.output_text == LINE
    assert workshop.path.read_text() == f"{LINE}\n"
    assert simulator.counters.seals == 3


@pytest.mark.parametrize("names", TOOLSETS)
@pytest.mark.parametrize("model", MODELS)
async def test_it_works_with_gemini(generate, simulator, workshop, names, model):
    functions = [{"name": name, "parametersJsonSchema": schema} for name, schema in schemas(names).items()]
    contents = [{"role": "user", "parts": [{"text": workshop.prompt}]}]
    for _ in range(3):
        reply = await generate(contents, model=model, tools=[{"functionDeclarations": functions}])
        content = reply.json()["candidates"][0]["content"]
        calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        results = [
            {"functionResponse": {"name": call["name"], "response": {"output": workshop.carry_out(**renamed(call))}}}
            for call in calls
        ]
        contents += [content, {"role": "user", "parts": results}]
    assert content["parts"][-1]["text"] == LINE
    assert workshop.path.read_text() == f"{LINE}\n"
    assert simulator.counters.seals == 3


def renamed(call):
    return {"name": call["name"], "arguments": call["args"]}


async def test_a_sealed_agent_refuses_to_go_on_without_its_thoughts(message, workshop):
    tools = [{"name": "Bash", "input_schema": BASH}]
    asked = {"model": "sim-sealed-agent", "tools": tools}
    prompt = {"role": "user", "content": workshop.prompt}
    _, call = (await message("", messages=[prompt], **asked)).json()["content"]
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "done"}
    messages = [prompt, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    assert (await message("", messages=messages, **asked)).status == 400
    assert (await message("", messages=messages, **{**asked, "model": "sim-agent"})).status == 200


async def test_an_agent_without_tools_just_talks(chat):
    reply = await chat("give this conversation a title", model="sim-agent")
    assert reply.json()["choices"][0]["message"]["content"].startswith("The simulator answers")


async def test_reminders_between_the_moves_do_not_start_it_again(message, workshop):
    tools = [{"name": "Bash", "input_schema": BASH}]
    calls = [{"type": "tool_use", "id": f"toolu_{number}", "name": "Bash", "input": {}} for number in (1, 2)]
    messages = [{"role": "user", "content": workshop.prompt}]
    for call in calls:
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": f"result of {call['id']}"}
        reminder = {"type": "text", "text": f"{workshop.path} was modified"}
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result, reminder]}]
    reply = await message("", messages=messages, model="sim-agent", tools=tools)
    assert reply.json()["content"][-1]["text"] == "result of toolu_2"
