// Runs one request through the gateway and shows what comes: text as it streams, figures, the route, errors.
"use strict";
(() => {
    const form = document.getElementById("playground_form");
    if (!form) {
        return;
    }
    const by = (id) => document.getElementById(id);
    const facts = JSON.parse(by("playground-facts").textContent);
    const field = (name) => form.elements[name];
    let key = null; // of this page alone: { secret, expires_at, project }
    let run = null; // what is under way

    // --- What is chosen ------------------------------------------------------------------------------------

    function followModel() {
        const model = facts.models[field("model").value];
        if (model?.dialect) {
            field("dialect").value = model.dialect;
        }
        tellCurrency(model);
    }

    function tellCurrency(model) {
        const currencies = model?.currencies ?? [];
        by("billed-in").textContent = currencies.length ? ` in ${currencies.join(" or ")}` : " (this model has no price of its own)";
    }

    function followKey() {
        for (const part of form.querySelectorAll("[data-for]")) {
            part.hidden = part.dataset.for !== field("key_kind").value;
        }
    }

    const project = () => field("project")?.value ?? "";
    const needsKey = () =>
        field("key_kind").value === "temporary" &&
        (!key || key.project !== project() || key.expires_at * 1000 < Date.now() + 60_000);

    // --- Asking --------------------------------------------------------------------------------------------

    async function prepare(anew) {
        const data = new FormData(form);
        const wantsKey = anew || needsKey();
        if (wantsKey) {
            data.set("needs_key", "on");
        }
        const response = await fetch(form.action, { method: "POST", body: data, signal: run.stop.signal });
        const type = response.headers.get("content-type") ?? "";
        if (!type.includes("json")) {
            throw new Failure("The console did not answer", response.redirected ? "Sign in again." : `Status ${response.status}.`);
        }
        const content = await response.json();
        if (content.errors) {
            throw new Invalid(content.errors);
        }
        if (content.key) {
            key = { ...content.key, project: project() };
        }
        return content;
    }

    class Invalid extends Error {
        constructor(errors) {
            super();
            this.lines = Object.entries(errors).flatMap(([name, all]) => all.map((each) => `${label(name)}: ${each.message}`));
        }
    }

    class Failure extends Error {
        constructor(title, message, code = "") {
            super(message);
            Object.assign(this, { title, code });
        }
    }

    const label = (name) => (name === "user" ? "Message" : name.replaceAll("_", " "));

    async function start() {
        if (run) {
            return;
        }
        run = { stop: new AbortController(), began: 0, first: null, requestId: "", wasAsked: false };
        clear();
        try {
            let asked = await prepare(false);
            showCode(asked.code);
            let response = await send(asked);
            if (response.status === 401 && field("key_kind").value === "temporary") {
                asked = await prepare(true); // another tab has made a newer one
                response = await send(asked);
            }
            await read(response, field("dialect").value, field("stream").checked);
            say("Done");
        } catch (error) {
            show(error);
        } finally {
            by("total-time").textContent = run.began ? time(performance.now() - run.began) : "none";
            by("first-token").textContent = run.first === null ? "none" : time(run.first);
            const { requestId, wasAsked } = run;
            run = null;
            buttons(false);
            await tellOutcome(requestId, wasAsked);
        }
    }

    async function send(asked) {
        const secret = field("key_kind").value === "pasted" ? by("pasted-key").value.trim() : key.secret;
        if (!secret) {
            throw new Invalid({ key: [{ message: "paste one, or choose a temporary one." }] });
        }
        if (!/^[\x21-\x7e]+$/.test(secret)) {
            throw new Invalid({ key: [{ message: "it has characters that no key has; was it copied whole?" }] });
        }
        say("Waiting for the first token …");
        run.began = performance.now();
        return fetch(asked.path, {
            method: "POST",
            headers: { ...asked.headers, authorization: `Bearer ${secret}` },
            body: JSON.stringify(asked.body),
            signal: run.stop.signal,
            credentials: "omit",
            cache: "no-store",
        });
    }

    // --- Reading -------------------------------------------------------------------------------------------

    async function read(response, dialect, isStreamed) {
        const headers = response.headers;
        run.requestId = headers.get("x-request-id") ?? "";
        run.wasAsked = Number(headers.get("x-tollgate-attempts") ?? 0) > 0;
        showRoute(headers);
        const isEvents = (headers.get("content-type") ?? "").startsWith("text/event-stream");
        if (!response.ok) {
            throw refusal(response, await response.text());
        }
        if (isStreamed && isEvents) {
            await readEvents(response, dialect);
            return;
        }
        const whole = await response.json();
        add(...whole_text[dialect](whole));
    }

    function refusal(response, text) {
        let message = text.slice(0, 500);
        let code = response.headers.get("x-tollgate-error") ?? "";
        try {
            const body = JSON.parse(text);
            const error = (Array.isArray(body) ? body[0] : body).error ?? {};
            message = error.message ?? message;
            code ||= error.code ?? error.type ?? error.status ?? "";
        } catch {
            // not JSON: shown as it came
        }
        const whose = response.headers.get("x-tollgate-error") ? "The gateway refused it" : "The provider refused it";
        return new Failure(`${whose}: ${response.status} ${code}`, message, String(code));
    }

    async function readEvents(response, dialect) {
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        let waiting = "";
        for (;;) {
            const { value, done } = await reader.read();
            waiting += done ? "\n\n" : value;
            const blocks = waiting.split(/\r?\n\r?\n/);
            waiting = blocks.pop();
            for (const block of blocks) {
                readEvent(block, dialect);
            }
            if (done) {
                return;
            }
        }
    }

    function readEvent(block, dialect) {
        const lines = block.split(/\r?\n/).filter((line) => line.startsWith("data:"));
        const data = lines.map((line) => line.slice(5).trimStart()).join("\n");
        if (!data || data === "[DONE]") {
            return;
        }
        const event = JSON.parse(data);
        const error = event.error ?? (event.type === "response.failed" ? event.response?.error : null);
        if (error) {
            const code = String(error.code ?? error.type ?? event.code ?? "");
            throw new Failure(`The answer broke off: ${code}`, error.message ?? event.message ?? "", code);
        }
        if (event.type === "error") {
            throw new Failure(`The answer broke off: ${event.code ?? ""}`, event.message ?? "", String(event.code ?? ""));
        }
        add(...part_of[dialect](event));
    }

    // Each returns the text, and the thinking.
    const gemini = (event) => {
        const parts = (event.candidates ?? []).flatMap((candidate) => candidate.content?.parts ?? []);
        const join = (isThought) => parts.filter((part) => Boolean(part.thought) === isThought).map((part) => part.text ?? "").join("");
        return [join(false), join(true)];
    };
    const part_of = {
        openai_chat: (event) => {
            const delta = event.choices?.[0]?.delta ?? {};
            return [delta.content ?? "", delta.reasoning_content ?? delta.reasoning ?? ""];
        },
        anthropic_messages: (event) => {
            const delta = event.type === "content_block_delta" ? event.delta : {};
            return [delta.text ?? "", delta.thinking ?? ""];
        },
        openai_responses: (event) => [
            event.type === "response.output_text.delta" ? event.delta : "",
            /^response\.reasoning(_summary)?_text\.delta$/.test(event.type) ? event.delta : "",
        ],
        gemini,
    };
    const whole_text = {
        openai_chat: (body) => {
            const message = body.choices?.[0]?.message ?? {};
            return [message.content ?? "", message.reasoning_content ?? message.reasoning ?? ""];
        },
        anthropic_messages: (body) => {
            const join = (type, name) => (body.content ?? []).filter((block) => block.type === type).map((block) => block[name]).join("");
            return [join("text", "text"), join("thinking", "thinking")];
        },
        openai_responses: (body) => {
            const parts = (body.output ?? []).flatMap((item) => (item.type === "message" ? item.content : []));
            return [parts.map((part) => part.text ?? "").join(""), ""];
        },
        gemini,
    };

    function add(text, thinking) {
        if (!text && !thinking) {
            return;
        }
        if (run.first === null) {
            run.first = performance.now() - run.began;
            by("first-token").textContent = time(run.first);
            say("Answering …");
        }
        by("answer").append(text);
        by("thinking").append(thinking);
        by("thinking-box").hidden = !by("thinking").textContent;
    }

    // --- Showing -------------------------------------------------------------------------------------------

    function clear() {
        by("result").hidden = false;
        by("answer-box").hidden = false;
        for (const id of ["failure", "form-errors", "thinking-box", "route-box"]) {
            by(id).hidden = true;
        }
        for (const id of ["answer", "thinking", "route", "attempts", "losses"]) {
            by(id).replaceChildren();
        }
        for (const id of ["first-token", "total-time", "tokens", "cost"]) {
            by(id).textContent = "…";
        }
        say("Asking …");
        buttons(true);
    }

    function buttons(isRunning) {
        by("run").disabled = isRunning;
        by("run").classList.toggle("opacity-50", isRunning);
        by("stop").hidden = !isRunning;
    }

    const say = (text) => (by("state").textContent = text);
    const time = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`);
    const number = (value) => (value ?? 0).toLocaleString("en");

    function show(error) {
        by("answer-box").hidden = !by("answer").textContent;
        if (error.name === "AbortError") {
            say("Stopped. What was produced until then is billed.");
        } else if (error instanceof Invalid) {
            by("form-errors").textContent = error.lines.join(" ");
            by("form-errors").hidden = false;
            by("result").hidden = true;
            say("");
        } else {
            const isOurs = error instanceof Failure;
            by("failure").hidden = false;
            by("failure-title").textContent = isOurs ? error.title : "The gateway could not be reached";
            by("failure-message").textContent = isOurs ? error.message : `${error}`;
            by("failure-hint").textContent = facts.explanations[error.code] ?? "";
            say("Failed");
        }
    }

    function showCode(code) {
        by("code-box").hidden = false;
        for (const [name, text] of Object.entries(code)) {
            by(`code-${name}`).querySelector("code").textContent = text;
        }
    }

    const HEADERS = { route: "Route", provider: "Provider", deployment: "Deployment", model: "Model", attempts: "Calls upstream", "overhead-ms": "Time in the gateway", revision: "Revision" };

    function showRoute(headers) {
        const found = Object.entries(HEADERS).map(([name, title]) => [title, headers.get(`x-tollgate-${name}`), name]);
        for (const [title, value, name] of found) {
            if (value !== null) {
                fact(title, name === "overhead-ms" ? `${value} ms` : value);
            }
        }
        if (headers.get("x-request-id")) {
            const link = document.createElement("a");
            link.className = "text-primary-600 underline dark:text-primary-500";
            link.textContent = headers.get("x-request-id");
            link.href = facts.record.replace("REQUEST", headers.get("x-request-id"));
            fact("Request", headers.get("x-tollgate-deployment") ? link : headers.get("x-request-id"));
        }
        by("route-box").hidden = !by("route").children.length;
    }

    function fact(title, value) {
        const pair = document.createElement("div");
        const [term, said] = [document.createElement("dt"), document.createElement("dd")];
        term.textContent = title;
        said.append(value);
        pair.append(term, said);
        by("route").append(pair);
    }

    function item(list, text) {
        const line = document.createElement("li");
        line.textContent = text;
        by(list).append(line);
    }

    // --- What the ledger says ------------------------------------------------------------------------------

    async function tellOutcome(requestId, wasAsked) {
        if (!requestId || !wasAsked) {
            by("tokens").textContent = by("cost").textContent = "none";
            return;
        }
        for (let look = 0; look < 20 && !run; look++) {
            const response = await fetch(`${form.dataset.outcome}?request_id=${encodeURIComponent(requestId)}`);
            if (response.status === 200) {
                showOutcome(await response.json());
                return;
            }
            await new Promise((resolve) => setTimeout(resolve, 500));
        }
        if (!run) {
            by("tokens").textContent = by("cost").textContent = "not in the ledger yet";
        }
    }

    function showOutcome(found) {
        const details = [
            found.cache_read_tokens ? `${number(found.cache_read_tokens)} from a cache` : "",
            found.reasoning_tokens ? `${number(found.reasoning_tokens)} of them thinking` : "",
        ].filter(Boolean);
        by("tokens").textContent = `${number(found.input_tokens)} in, ${number(found.output_tokens)} out${details.length ? ` (${details.join(", ")})` : ""}`;
        const status = { estimated: " (estimated)", unpriced: " (the model has no price)" }[found.cost_status] ?? "";
        by("cost").textContent = found.cost + status;
        found.attempts.forEach((each, at) =>
            item("attempts", `${at + 1}. ${each.deployment}: ${each.result || "asked"}${each.status ? ` (${each.status})` : ""}${each.ms === null || each.ms === undefined ? "" : `, ${time(each.ms)}`}`),
        );
        for (const loss of found.losses) {
            item("losses", `Lost in translation: ${loss.path} (${String(loss.weight).replaceAll("_", " ")}). ${loss.why ?? ""}`);
        }
    }

    // --- Wiring --------------------------------------------------------------------------------------------

    form.addEventListener("submit", (event) => {
        event.preventDefault();
        start();
    });
    form.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
            event.preventDefault();
            form.requestSubmit();
        }
    });
    by("stop").addEventListener("click", () => run?.stop.abort());
    field("model").addEventListener("change", followModel);
    field("key_kind").addEventListener("change", followKey);
    followModel();
    followKey();
})();
