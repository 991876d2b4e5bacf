"""The official Python client (`mcp` 2.x) runs the shared scenario.

The target is told in the environment variable SUITE_TARGET, as suite.py describes. The client
validates structured content against the declared output schemas itself; this runner validates
schemas, arguments and answers once more with `jsonschema`. Output: a line per check, then
`N passed, N failed`. A step that can't be made because an earlier one failed is a failure too.
"""

import asyncio
import contextlib
import json
import os
import re
import sys
import warnings
from pathlib import Path

import httpx2
from jsonschema import Draft202012Validator
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

TIMEOUT = 40.0
AGAIN = 0.1
TARGET = json.loads(os.environ["SUITE_TARGET"])
SCENARIO = json.loads(Path(__file__).with_name("scenario.json").read_text(encoding="utf-8"))
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "client-suite", "version": "1.0.0"},
    },
}
# Resources that the server said were updated, in the older protocol era.
UPDATES = asyncio.Queue()
HINTS = ("read_only_hint", "destructive_hint", "idempotent_hint", "open_world_hint")


class Failed(Exception):
    """A check that didn't hold."""


class Refused(Failed):
    """A call that should have succeeded."""


def require(condition, message):
    if not condition:
        raise Failed(message)


class Counts:
    """Counts and prints every check."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    @contextlib.asynccontextmanager
    async def check(self, name):
        try:
            async with asyncio.timeout(TIMEOUT):
                yield
        except Exception as error:  # every failure of a check is counted, whatever it is
            self.failed += 1
            print(f"FAIL  {TARGET['label']}: {name}: {explain(error)[:2000]}", flush=True)
        else:
            self.passed += 1
            print(f"ok    {TARGET['label']}: {name}", flush=True)


def explain(error):
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(explain(inner) for inner in error.exceptions)
    return str(error) or type(error).__name__


def fill(value, variables):
    """Replaces $name in every string of a JSON value; an unknown name is an error."""
    if isinstance(value, str):

        def saved(match):
            require(match[1] in variables, f"${match[1]} was never saved by an earlier step")
            return variables[match[1]]

        return re.sub(r"\$(\w+)", saved, value)
    if isinstance(value, list):
        return [fill(item, variables) for item in value]
    if isinstance(value, dict):
        return {key: fill(item, variables) for key, item in value.items()}
    return value


def at(value, pointer):
    """A JSON pointer without escapes."""
    for key in pointer.split("/")[1:]:
        value = value.get(key) if isinstance(value, dict) else None
    require(value is not None, f"the answer has no {pointer}")
    return value


async def on_message(message):
    if getattr(message, "method", None) == "notifications/resources/updated":
        UPDATES.put_nowait(str(message.params.uri))


@contextlib.asynccontextmanager
async def connect(token):
    """An open client on the target's transport, in the target's protocol era."""
    async with contextlib.AsyncExitStack() as stack:
        if TARGET.get("url"):
            headers = {"Authorization": f"Bearer {token}"}
            http = await stack.enter_async_context(
                httpx2.AsyncClient(headers=headers, timeout=TIMEOUT)
            )
            server = streamable_http_client(TARGET["url"], http_client=http)
        else:
            program, *words = TARGET["command"]
            server = StdioServerParameters(command=program, args=words, env=TARGET["env"])
        client = Client(
            server,
            mode=TARGET["mode"],
            read_timeout_seconds=TIMEOUT,
            message_handler=on_message,
        )
        yield await stack.enter_async_context(client)


def text_of(result):
    texts = [item.text for item in result.content if item.type == "text"]
    require(texts, "the result has no text content")
    return texts[0]


async def eventually(step, attempt):
    """Tries once, or until it holds where the step says so; the check's own limit ends it."""
    while True:
        try:
            return await attempt()
        except Failed as early:
            if not step.get("eventually") or isinstance(early, Refused):
                raise
            await asyncio.sleep(AGAIN)


async def call_step(client, tools, step, variables):
    arguments = fill(step["arguments"], variables)
    tool = tools.get(step["tool"])
    if not step.get("refused"):
        require(tool, "the tool isn't listed")
        Draft202012Validator(tool.input_schema).validate(arguments)
    result = await client.call_tool(step["tool"], arguments)
    text = text_of(result)
    if step.get("refused"):
        require(result.is_error, "the call was not refused")
        code = json.loads(text).get("code")
        require(code == step["refused"], f"refused with {code}")
        return
    if result.is_error:
        raise Refused(f"refused: {text}")
    answer = result.structured_content
    require(answer is not None, "no structured content")
    Draft202012Validator(tool.output_schema).validate(answer)
    require(json.loads(text) == answer, "text and structure differ")
    for pointer, values in step.get("expect", {}).items():
        found = at(answer, pointer)
        require(found in fill(values, variables), f"{pointer} is {found}, not {values}")
    for part in fill(step.get("contains", []), variables):
        require(part in text, f"the answer doesn't contain {part}")
    for name, pointer in step.get("save", {}).items():
        variables[name] = str(at(answer, pointer))


async def read_step(client, step, variables):
    uri = fill(step["resource"], variables)
    contents = (await client.read_resource(uri)).contents
    require(contents and contents[0].mime_type == "application/json", "it holds no JSON")
    json.loads(contents[0].text)
    for part in fill(step.get("contains", []), variables):
        require(part in contents[0].text, f"the contents don't hold {part}")


async def follow_step(client, step, variables):
    """Subscribes as the protocol era wants it, and waits for an update."""
    uri = fill(step["follow"], variables)
    if TARGET["version"] >= "2026":
        async with client.listen(resource_subscriptions=[uri]) as events:
            async for event in events:
                require(event.uri == uri, f"told of {event}")
                return
        raise Failed("the stream ended without an update")
    while not UPDATES.empty():
        UPDATES.get_nowait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        await client.subscribe_resource(uri)
        told = await UPDATES.get()
        require(told == uri, f"told of {told}")
        await client.unsubscribe_resource(uri)


async def human(words):
    """An act of the operator: a second process, over the operator's own socket."""
    process = await asyncio.create_subprocess_exec(
        *TARGET["operator"],
        *words,
        "--json",
        env={**os.environ, **TARGET["env"]},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, complaint = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    said = complaint.decode(errors="replace")
    require(process.returncode == 0, f"exit code {process.returncode}: {said}")


def check_declaration(tool):
    require(tool, "not listed")
    require(tool.title, "no title")
    require(tool.description, "no description")
    for schema in (tool.input_schema, tool.output_schema):
        require(schema and schema.get("type") == "object", "a schema is no object")
        Draft202012Validator.check_schema(schema)
    for hint in HINTS:
        require(isinstance(getattr(tool.annotations, hint, None), bool), f"no {hint}")


async def check_listing(counts, tools):
    for name in SCENARIO["tools"]:
        async with counts.check(f"{name} is declared in full"):
            check_declaration(tools.get(name))
    async with counts.check("every generic write name stays unlisted"):
        listed = [name for name in SCENARIO["never_listed"] if name in tools]
        require(not listed, f"listed: {listed}")


async def run_steps(counts, client, tools):
    variables = {**SCENARIO["variables"], **TARGET["variables"]}
    for index, step in enumerate(SCENARIO["steps"], start=1):
        if any(variables.get(name) != value for name, value in step.get("when", {}).items()):
            continue
        if "human" in step:
            async with counts.check(f"{index} a human: {' '.join(step['human'][:2])}"):
                await human(fill(step["human"], variables))
            continue
        if "resource" in step:
            async with counts.check(f"{index} reads {step['resource']}"):
                await read_step(client, step, variables)
            continue
        if "follow" in step:
            async with counts.check(f"{index} follows {step['follow']}"):
                await follow_step(client, step, variables)
            continue
        suffix = f" is refused with {step['refused']}" if "refused" in step else ""
        async with counts.check(f"{index} {step['tool']}{suffix}"):

            def attempt(step=step):
                return call_step(client, tools, step, variables)

            await eventually(step, attempt)


async def run_reader(counts):
    async with counts.check("a reader sees no write tool"):
        async with connect(TARGET["read_only_token"]) as client:
            listed = {tool.name for tool in (await client.list_tools()).tools}
        require("ibkr_accounts_list" in listed, "the reader sees no read tool either")
        seen = sorted(listed.intersection(SCENARIO["hidden_from_readers"]))
        require(not seen, f"listed: {seen}")
    async with counts.check("a made-up token is refused"):
        accepted = False
        with contextlib.suppress(Exception):  # the client tells no status: see below
            async with connect("not-a-token") as client:
                await client.list_tools()
                accepted = True
        require(not accepted, "the token was accepted")
        headers = {"Authorization": "Bearer not-a-token"}
        async with httpx2.AsyncClient(headers=headers, timeout=TIMEOUT) as http:
            answer = await http.post(TARGET["url"], json=INITIALIZE)
        require(answer.status_code == 401, f"status {answer.status_code}")
        challenge = answer.headers.get("www-authenticate", "")
        require(challenge.startswith("Bearer "), f"the challenge is {challenge!r}")


async def run():
    counts = Counts()
    stack = contextlib.AsyncExitStack()
    client = None
    async with counts.check("connects"):
        client = await stack.enter_async_context(connect(TARGET.get("token")))
        version = client.protocol_version
        require(version.startswith(TARGET["version"]), f"negotiated {version}")
    if client is not None:
        tools = {}
        async with counts.check("lists its tools"):
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        await check_listing(counts, tools)
        await run_steps(counts, client, tools)
        async with counts.check("closes"):
            await stack.aclose()
    if TARGET.get("read_only_token"):
        await run_reader(counts)
    print(f"{counts.passed} passed, {counts.failed} failed", flush=True)
    return 0 if counts.failed == 0 and counts.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(run()))
