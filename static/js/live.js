/* The live view: one socket, one snapshot a second, and a button that stops a request. */
(() => {
    "use strict";

    const root = document.getElementById("live");
    if (!root) {
        return;
    }
    const HISTORY = 120; // seconds
    const SILENT = 3500; // milliseconds without a snapshot after which what is shown is stale
    const FIRST_PAUSE = 500;
    const LONGEST_PAUSE = 15000;
    const SURE = 4000; // how long a stop button waits to be pressed again
    const LINGER = 8000; // how long a row stays that is over, under a pointer
    const NOT_ALLOWED = 4403;
    const CHANGED = 4409;
    const PHASES = {
        arriving: ["Arriving", "Its body, its key and its limits are being looked at."],
        queued: ["Queued", "It waits for a place at its provider."],
        connecting: ["Connecting", "The upstream was asked and has not answered yet."],
        waiting: ["Waiting", "The upstream works on it; nothing was written yet."],
        streaming: ["Streaming", "The answer is on its way."],
        retrying: ["Retrying", "An attempt failed; the next one follows."],
        ending: ["Ending", "It is being settled."],
    };
    const STATES = { up: "Up", degraded: "Degraded", down: "Down", off: "Off" };
    const seesTenants = root.dataset.seesTenants === "1";
    const mayStop = root.dataset.mayStop === "1";
    const token = root.querySelector("[name=csrfmiddlewaretoken]").value;
    const byId = (id) => document.getElementById(id);
    const rows = new Map(); // of requests, by id
    const stops = new Map(); // what became of stop buttons, by request
    const points = new Map(); // by sequence number: in flight, requests, tokens, errors
    let sequence = 0;
    let shownAt = 0; // when the last snapshot came, by our clock
    let snapshotAt = null; // when it was made, by Valkey's
    let staleSince; // undefined: it is not; null: there was no snapshot yet
    let silentWorkers = 0;
    let pause = FIRST_PAUSE;
    let socket = null;
    let ended = "";

    // --- Words ----------------------------------------------------------------------------------------------

    const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
    const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 19);

    function number(value) {
        if (value >= 1000) {
            return compact.format(value);
        }
        return value === 0 ? "0" : value < 10 ? value.toFixed(1) : Math.round(value).toString();
    }

    function age(seconds) {
        if (seconds < 10) {
            return `${seconds.toFixed(1)} s`;
        }
        if (seconds < 60) {
            return `${Math.floor(seconds)} s`;
        }
        return `${Math.floor(seconds / 60)} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
    }

    function element(tag, className, text) {
        const made = document.createElement(tag);
        if (className) {
            made.className = className;
        }
        if (text !== undefined) {
            made.textContent = text;
        }
        return made;
    }

    function write(node, text) {
        if (node.textContent !== text) {
            node.textContent = text;
        }
    }

    // --- How it stands --------------------------------------------------------------------------------------

    function tellStatus() {
        const isLate = shownAt > 0 && performance.now() - shownAt > SILENT;
        const isOpen = socket !== null && socket.readyState === WebSocket.OPEN;
        let [state, text] = ["ok", "Live"];
        if (ended) {
            [state, text] = ["bad", ended];
        } else if (staleSince !== undefined || isLate) {
            const since = isLate ? snapshotAt : staleSince ?? snapshotAt;
            [state, text] = ["bad", since === null ? "No snapshot yet" : `Stale since ${clock(since)}`];
        } else if (!shownAt) {
            [state, text] = ["wait", "Connecting"];
        } else if (silentWorkers) {
            [state, text] = ["wait", `Live, but ${silentWorkers} worker${silentWorkers > 1 ? "s say" : " says"} nothing`];
        }
        if (!ended && shownAt && !isOpen) {
            text += ", reconnecting";
            state = state === "ok" ? "wait" : state;
        }
        byId("live-status").dataset.state = state;
        write(byId("live-status-text"), text);
    }

    function notice(text, link) {
        const place = byId("live-notice");
        place.hidden = !text;
        place.textContent = text;
        if (link) {
            const anchor = element("a", "", "Sign in");
            anchor.href = link;
            place.append(" ", anchor);
        }
    }

    // --- Numbers and curves ---------------------------------------------------------------------------------

    function addPoint(at, values) {
        points.set(at, values);
        for (const old of points.keys()) {
            if (old <= sequence - HISTORY) {
                points.delete(old);
            }
        }
    }

    function drawCurves() {
        ["in_flight", "requests", "tokens", "errors"].forEach((name, index) => {
            const svg = root.querySelector(`[data-curve=${name}]`);
            const known = [...points].sort((left, right) => left[0] - right[0]);
            const most = Math.max(1e-9, ...known.map(([, values]) => values[index]));
            let line = "";
            let area = "";
            let before = null;
            for (const [at, values] of known) {
                const x = HISTORY - (sequence - at);
                const y = 30 - (values[index] / most) * 27;
                if (before === null || at - before.at > 3) {
                    area += before === null ? "" : `L${before.x},32Z`;
                    line += `M${x},${y}`;
                    area += `M${x},32L${x},${y}`;
                } else {
                    line += `L${x},${y}`;
                    area += `L${x},${y}`;
                }
                before = { at, x };
            }
            svg.querySelector(".live-line").setAttribute("d", line);
            svg.querySelector(".live-area").setAttribute("d", before === null ? "" : `${area}L${before.x},32Z`);
        });
    }

    function showNumbers(snapshot) {
        const rates = snapshot.rates;
        const errors = rates.client + rates.gateway + rates.upstream;
        const shown = {
            in_flight: snapshot.in_flight.toLocaleString("en"),
            requests: number(rates.requests),
            tokens: number(rates.output),
            errors: number(errors),
        };
        for (const [name, text] of Object.entries(shown)) {
            write(root.querySelector(`[data-number=${name}]`), text);
        }
        const streams = snapshot.requests.filter((request) => request.is_stream).length;
        const of = snapshot.unlisted ? ` of ${snapshot.requests.length} listed` : "";
        write(root.querySelector("[data-hint=in_flight]"), snapshot.in_flight ? `${streams}${of} streamed` : "");
        write(root.querySelector("[data-hint=tokens]"), `written; ${number(rates.input)} read`);
        const owners = [["client", rates.client], ["gateway", rates.gateway], ["upstream", rates.upstream]];
        const blamed = owners.filter(([, rate]) => rate > 0).map(([owner, rate]) => `${owner} ${number(rate)}`);
        write(root.querySelector("[data-hint=errors]"), blamed.join(", ") || "none");
        root.querySelector("[data-number=errors]").classList.toggle("live-bad-text", errors > 0);
        addPoint(snapshot.sequence, [snapshot.in_flight, rates.requests, rates.output, errors]);
    }

    // --- Requests -------------------------------------------------------------------------------------------

    function cell(row, name, label) {
        const made = element("td", `live-${name}`);
        made.dataset.label = label;
        row.append(made);
        return made;
    }

    function makeRow(request) {
        const row = element("tr");
        const cells = { age: cell(row, "age", "Age") };
        if (seesTenants) {
            cells.tenant = cell(row, "tenant", "Tenant");
        }
        cells.key = cell(row, "key", "API key");
        cells.model = cell(row, "model", "Model");
        cells.upstream = cell(row, "upstream", "Upstream");
        const phase = cell(row, "phase", "Phase");
        cells.phase = phase.appendChild(element("span", "live-badge"));
        cells.kind = phase.appendChild(element("span", "live-kind text-subtle"));
        cells.tokens = cell(row, "tokens", "Tokens");
        cells.tokens.classList.add("live-right");
        if (mayStop) {
            const last = cell(row, "stop", "");
            cells.stop = last.appendChild(element("button", "live-stop-button"));
            cells.stop.type = "button";
            cells.stop.addEventListener("click", () => press(request.id));
        }
        row.title = `Request ${request.id}`;
        return { row, cells };
    }

    function fillRow({ cells }, request) {
        const [phase, why] = PHASES[request.phase] ?? [request.phase, ""];
        write(cells.age, age(request.age));
        if (cells.tenant) {
            write(cells.tenant, request.tenant || "–");
        }
        write(cells.key, request.key || "–");
        write(cells.model, request.model || "–");
        write(cells.upstream, request.deployment ? `${request.provider} / ${request.deployment}` : "–");
        write(cells.phase, phase);
        cells.phase.dataset.phase = request.phase;
        cells.phase.title = why;
        const more = request.attempts > 1 ? `, attempt ${request.attempts}` : "";
        write(cells.kind, (request.is_stream ? "stream" : "whole") + more);
        write(cells.tokens, request.tokens ? `≈ ${request.tokens.toLocaleString("en")}` : "–");
        if (cells.stop) {
            fillStop(cells.stop, request);
        }
    }

    function sayOver({ row, cells }) {
        row.classList.add("live-over");
        write(cells.phase, "Over");
        cells.phase.dataset.phase = "over";
        if (cells.stop) {
            cells.stop.hidden = true;
        }
    }

    function fillStop(button, request) {
        const stop = stops.get(request.id);
        const state = stop ? stop.state : request.can_stop ? "ready" : "never";
        const words = { ready: "Stop", sure: "Really stop?", asked: "Stopping", failed: stop?.text, never: "" };
        button.dataset.state = state;
        button.hidden = state === "never";
        button.disabled = state === "asked" || state === "failed";
        write(button, words[state] ?? "");
        button.setAttribute("aria-label", `${words[state] ?? ""} request of ${request.key} to ${request.model}`);
    }

    function showRequests(snapshot) {
        const body = byId("live-requests");
        const words = byId("live-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
        const wanted = snapshot.requests.filter((request) => {
            const text = `${request.tenant} ${request.key} ${request.model} ${request.provider} ${request.deployment} ${request.id}`.toLowerCase();
            return words.every((word) => text.includes(word));
        });
        const kept = new Set(wanted.map((request) => request.id));
        const known = new Set(snapshot.requests.map((request) => request.id));
        const isPointedAt = body.matches(":hover"); // rows must not move away from under a pointer
        const now = performance.now();
        for (const [id, made] of rows) {
            if (!kept.has(id) && isPointedAt && !known.has(id) && now - (made.overAt ?? now) < LINGER) {
                made.overAt ??= now;
                sayOver(made);
            } else if (!kept.has(id)) {
                made.row.remove();
                rows.delete(id);
            }
        }
        for (const id of [...stops.keys()].filter((each) => !known.has(each))) {
            stops.delete(id);
        }
        let before = null;
        for (const request of wanted) {
            if (!rows.has(request.id)) {
                rows.set(request.id, makeRow(request));
            }
            const made = rows.get(request.id);
            fillRow(made, request);
            let place = before ? before.nextSibling : body.firstChild;
            while (place && place !== made.row && place.classList.contains("live-over")) {
                place = place.nextSibling;
            }
            if (place !== made.row) {
                body.insertBefore(made.row, place);
            }
            before = made.row;
        }
        const empty = byId("live-empty");
        empty.hidden = rows.size > 0;
        const none = "Nothing is under way at the moment. Requests appear here as they come.";
        write(empty, snapshot.requests.length ? "No request under way has these words." : none);
        byId("live-more").hidden = !snapshot.unlisted;
        write(byId("live-more"), `${snapshot.unlisted.toLocaleString("en")} more are under way and not listed.`);
    }

    // --- Stopping -------------------------------------------------------------------------------------------

    function press(id) {
        const stop = stops.get(id);
        if (!stop) {
            const timer = setTimeout(() => {
                stops.delete(id);
                refresh(id);
            }, SURE);
            stops.set(id, { state: "sure", timer });
        } else if (stop.state === "sure") {
            clearTimeout(stop.timer);
            stops.set(id, { state: "asked" });
            ask(id);
        }
        refresh(id);
    }

    function refresh(id) {
        const made = rows.get(id);
        const request = latest && latest.requests.find((each) => each.id === id);
        if (made && request && made.cells.stop) {
            fillStop(made.cells.stop, request);
        }
    }

    async function ask(id) {
        let problem = "";
        try {
            const reply = await fetch(`${root.dataset.stop.replace(/\/?$/, "/")}${id}/stop`, {
                method: "POST",
                headers: { "X-CSRFToken": token, Accept: "application/json" },
            });
            if (reply.status === 404) {
                problem = "Has ended";
            } else if (!reply.ok) {
                problem = reply.status === 403 ? "Not allowed" : "Failed";
            }
        } catch {
            problem = "Failed";
        }
        if (problem) {
            stops.set(id, { state: "failed", text: problem });
            refresh(id);
            setTimeout(() => {
                stops.delete(id);
                refresh(id);
            }, SURE);
        }
    }

    // --- Providers and workers ------------------------------------------------------------------------------

    function showList(id, none, entries, fill) {
        const list = byId(id);
        if (!list || !entries) {
            return;
        }
        while (list.children.length > entries.length) {
            list.lastChild.remove();
        }
        entries.forEach((entry, index) => {
            const item = list.children[index] ?? list.appendChild(element("li", "border-base-200 dark:border-base-800"));
            if (!item.firstChild) {
                item.append(element("span", "live-badge"), element("span", "live-name text-important"), element("span", "live-facts text-subtle"));
            }
            fill(entry, ...item.children);
        });
        const empty = list.nextElementSibling;
        empty.hidden = entries.length > 0;
        write(empty, none);
    }

    const rank = (provider) => ["down", "degraded", "up", "off"].indexOf(provider.state);

    function fillProvider(provider, badge, name, facts) {
        badge.dataset.phase = provider.state;
        write(badge, STATES[provider.state] ?? provider.state);
        write(name, provider.name);
        const told = [];
        if (provider.in_flight !== undefined) {
            told.push(`${provider.in_flight} in flight`);
            told.push(provider.error_rate === null ? "no calls in 2 min" : `${(provider.error_rate * 100).toFixed(1)}% failed in 2 min`);
        }
        for (const each of provider.troubled ?? []) {
            told.push(`${each.name}: ${each.why}${each.until ? ` until ${clock(each.until)}` : ""}`);
        }
        write(facts, told.join(" · "));
    }

    function fillWorker(worker, badge, name, facts) {
        const isSilent = worker.silent_since !== null;
        badge.dataset.phase = isSilent ? "down" : "up";
        write(badge, isSilent ? "Silent" : "Up");
        write(name, worker.name);
        const told = isSilent ? `Stale since ${clock(worker.silent_since)}` : `${worker.in_flight} in flight`;
        write(facts, worker.revision ? `${told} · revision ${worker.revision}` : told);
    }

    // --- The socket -----------------------------------------------------------------------------------------

    let latest = null;

    function showSnapshot(snapshot) {
        if (snapshot.sequence <= sequence) {
            return; // of a worker that lags behind the one before
        }
        sequence = snapshot.sequence;
        latest = snapshot;
        shownAt = performance.now();
        snapshotAt = snapshot.at;
        staleSince = undefined;
        silentWorkers = snapshot.silent_workers;
        pause = FIRST_PAUSE;
        showNumbers(snapshot);
        drawCurves();
        showRequests(snapshot);
        const providers = snapshot.providers?.toSorted((left, right) => rank(left) - rank(right));
        showList("live-providers", "There is no provider yet.", providers, fillProvider);
        showList("live-workers", "No worker is known.", snapshot.workers, fillWorker);
        tellStatus();
    }

    function take(message) {
        if (message.kind === "snapshot") {
            showSnapshot(message);
        } else if (message.kind === "stale") {
            staleSince = message.since ?? snapshotAt;
            tellStatus();
        } else if (message.kind === "history") {
            for (const [at, ...values] of message.points) {
                if (!points.has(at)) {
                    points.set(at, values);
                }
            }
        }
    }

    function connect() {
        const scheme = location.protocol === "https:" ? "wss:" : "ws:";
        socket = new WebSocket(`${scheme}//${location.host}${root.dataset.socket}`);
        socket.addEventListener("message", (event) => take(JSON.parse(event.data)));
        socket.addEventListener("close", (event) => {
            if (event.code === CHANGED) {
                location.reload();
            } else if (event.code === NOT_ALLOWED) {
                ended = "Disconnected";
                const next = encodeURIComponent(location.pathname);
                notice("You may not see this any more, or your session has ended.", `${root.dataset.signIn}?next=${next}`);
            } else {
                setTimeout(connect, pause * (0.5 + Math.random()));
                pause = Math.min(pause * 2, LONGEST_PAUSE);
            }
            tellStatus();
        });
    }

    byId("live-filter").addEventListener("input", () => latest && showRequests(latest));
    setInterval(tellStatus, 1000);
    if (!("WebSocket" in window)) {
        ended = "Not connected";
        notice("This page needs WebSockets, which this browser does not have.");
    } else {
        connect();
    }
    tellStatus();
})();
