#!/bin/sh
# Points Claude Code and Codex at a gateway:
#
#   curl -sSL @@URL@@/install.sh | bash -s -- --key=… --model=…
#
# What it changes, and nothing else:
#   ~/.claude/settings.json   the members of "env" that Claude Code reads its server, key and models from
#   ~/.codex/config.toml      one provider, and that Codex uses it
# Before that it keeps a copy of each beside it (….before-tollgate). All of these files are for you alone (mode 0600).
# `--print` shows what it would do, `--uninstall` takes it back, `--help` tells the rest.

set -eu
umask 077

SERVED_BY='@@URL@@'
MARK=TOLLGATE_SETUP
KEPT=before-tollgate

usage() {
    cat <<END
Usage: curl -sSL $SERVED_BY/install.sh | bash -s -- [WHERE] [OPTIONS]

WHERE
  gateway       this gateway, $SERVED_BY (the default)
  openrouter    straight to OpenRouter, with a key of theirs
  moonshot      straight to Moonshot (Kimi), api.moonshot.ai: Claude Code only
  moonshot-cn   the same, api.moonshot.cn

OPTIONS
  --key=KEY           the API key; else TOLLGATE_API_KEY (OPENROUTER_API_KEY, MOONSHOT_API_KEY),
                      else you are asked for it on the terminal
  --model=NAME        the model that both tools use; without it they ask for the names they know
  --port=PORT         a gateway on this machine, http://localhost:PORT
  --project           only for this directory: .claude/settings.local.json, Claude Code only
  --print             show what would be written, and write nothing
  --uninstall         put back what was there before
  --log-level=LEVEL   error, warning, info (the default) or debug
END
}

# --- What it says ------------------------------------------------------------------------------------------

level=2
work=

say() { [ "$level" -lt 2 ] || printf '%s\n' "$*"; }
warn() { [ "$level" -lt 1 ] || printf 'Warning: %s\n' "$*" >&2; }
debug() { [ "$level" -lt 3 ] || printf '  (%s)\n' "$*" >&2; }
die() {
    printf 'Error: %s\n' "$*" >&2
    exit 1
}

clean_up() {
    [ -z "$work" ] || rm -rf "$work"
}

# --- What it is told ---------------------------------------------------------------------------------------

preset=
port=
model=
key=
is_print=
is_uninstall=
is_project=

read_arguments() {
    for argument in "$@"; do
        case $argument in
            gateway | openrouter | moonshot | moonshot-cn)
                [ -z "$preset" ] || die "Name one of gateway, openrouter, moonshot and moonshot-cn, not two."
                preset=$argument
                ;;
            --key=*) key=${argument#*=} ;;
            --model=*) model=${argument#*=} ;;
            --port=*) port=${argument#*=} ;;
            --log-level=*) read_level "${argument#*=}" ;;
            --print) is_print=1 ;;
            --uninstall) is_uninstall=1 ;;
            --project) is_project=1 ;;
            --help | -h)
                usage
                exit 0
                ;;
            --key | --model | --port | --log-level) die "Write $argument=… in one word." ;;
            --*) die "There is no option ${argument%%=*}; --help lists them." ;;
            *) die "There is nothing called '$argument'; --help lists what there is." ;;
        esac
    done
    preset=${preset:-gateway}
    case $model in
        *[!A-Za-z0-9._:/@+\[\]-]*) die "The name of a model has letters, digits and . _ : / @ + [ ] - only." ;;
    esac
}

read_level() {
    case $1 in
        error) level=0 ;;
        warning) level=1 ;;
        info) level=2 ;;
        debug) level=3 ;;
        *) die "--log-level is error, warning, info or debug." ;;
    esac
}

# Sets label, base (Claude Code's), codex_base (empty: nothing for Codex) and check (what is asked without a model).
choose_server() {
    [ -z "$port" ] || [ "$preset" = gateway ] || die "--port is for a gateway on this machine."
    check=/v1/models
    case $preset in
        gateway)
            base=$SERVED_BY
            if [ -n "$port" ]; then
                case $port in *[!0-9]* | ??????*) die "--port is a number up to 65535." ;; esac
                [ "$port" -ge 1 ] && [ "$port" -le 65535 ] || die "--port is a number up to 65535."
                base=http://localhost:$port
            fi
            label="the gateway at $base"
            codex_base=$base/v1
            ;;
        openrouter)
            base=https://openrouter.ai/api
            label=OpenRouter
            codex_base=$base/v1
            check=/v1/key # their list of models asks for no key
            ;;
        moonshot | moonshot-cn)
            base=https://api.moonshot.ai/anthropic
            [ "$preset" = moonshot ] || base=https://api.moonshot.cn/anthropic
            label=Moonshot
            codex_base= # they have no endpoint that Codex could use
            model=${model:-kimi-k2.5}
            ;;
    esac
    [ -z "$is_project" ] || codex_base= # Codex takes no provider from a project's directory
}

choose_key() {
    if [ -z "$key" ]; then
        case $preset in
            gateway) key=${TOLLGATE_API_KEY:-} ;;
            openrouter) key=${OPENROUTER_API_KEY:-} ;;
            *) key=${MOONSHOT_API_KEY:-} ;;
        esac
    fi
    if [ -n "$is_print" ]; then
        key='(your key)'
        return
    fi
    [ -n "$key" ] || ask_for_key
    case $key in
        '') die "No key was given, so nothing was changed." ;;
        *[[:cntrl:]]* | *[[:space:]]*) die "A key has no blanks or control characters in it; nothing was changed." ;;
    esac
}

ask_for_key() {
    # The terminal, for standard input may be this script.
    if ! (: </dev/tty) 2>/dev/null; then
        die "Give the key as --key=… or in the environment: there is no terminal to ask for it on."
    fi
    printf 'API key for %s (it is not shown): ' "$label" >/dev/tty
    trap 'stty echo </dev/tty; clean_up; exit 130' INT TERM
    stty -echo </dev/tty
    IFS= read -r key </dev/tty || :
    stty echo </dev/tty
    trap 'clean_up; exit 130' INT TERM
    printf '\n' >/dev/tty
}

# --- JSON, with what is there ------------------------------------------------------------------------------

engine=

find_engine() {
    knows_toml=
    if ! has_python; then
        if command -v node >/dev/null 2>&1; then
            engine=node
        elif command -v jq >/dev/null 2>&1; then
            engine=jq
        else
            die "Editing $settings takes python3, node or jq, and none of them is here. Install one; nothing was changed."
        fi
    fi
    debug "JSON is edited with $engine"
}

# Isolated: no module of whatever directory this is, or of the user's own, is loaded in place of Python's.
python() { python3 -I -S -c "$@"; }

has_python() {
    command -v python3 >/dev/null 2>&1 || return 1
    # On a Mac without the developer tools, python3 only opens a window that offers them.
    if [ "$(command -v python3)" = /usr/bin/python3 ] && [ "$(uname -s)" = Darwin ]; then
        xcode-select -p >/dev/null 2>&1 || return 1
    fi
    knows_toml=$(python 'import importlib.util, json; print("yes" * bool(importlib.util.find_spec("tomllib")))' 2>/dev/null) ||
        return 1
    engine=python
}

# edit_json ours|install|restore NOW BEFORE: prints yes or no, or the new text. Either file may be /dev/null.
# What is set comes in TOLLGATE_CHANGES, a NAME=VALUE a line. The names that were set stand in the mark itself, so what
# else somebody has written into "env" since then is theirs.
edit_json() {
    case $engine in
        python) edit_with_python "$@" ;;
        node) edit_with_node "$@" ;;
        jq) edit_with_jq "$@" ;;
    esac
}

edit_with_python() {
    python '
import json, os, sys

MARK = "TOLLGATE_SETUP"

def read(path):
    with open(path, "rb") as file:
        text = file.read().decode("utf-8")
    data = json.loads(text) if text.strip() else {}
    if type(data) is not dict or type(data.get("env", {})) is not dict:
        raise SystemExit(3)
    return data

def restore(now, before):
    env, old = now.get("env", {}), before.get("env", {})
    for name in [*str(env.get(MARK, "")).split(), MARK]:
        if name in old:
            env[name] = old[name]
        else:
            env.pop(name, None)
    if not env and "env" not in before:
        now.pop("env", None)

try:
    mode, now, before = sys.argv[1], read(sys.argv[2]), read(sys.argv[3])
except ValueError:
    raise SystemExit(3)
if mode == "ours":
    print("yes" if MARK in now.get("env", {}) else "no")
    raise SystemExit
if MARK in now.get("env", {}):
    restore(now, before)
if mode == "install":
    lines = os.environb[b"TOLLGATE_CHANGES"].decode("utf-8").split("\n")
    now.setdefault("env", {}).update(line.split("=", 1) for line in lines if line)
sys.stdout.buffer.write((json.dumps(now, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))
' "$@"
}

edit_with_node() {
    node -e '
const fs = require("fs");
const MARK = "TOLLGATE_SETUP";
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

function read(path) {
    const text = fs.readFileSync(path, "utf8");
    const data = text.trim() ? JSON.parse(text) : {};
    if (!isObject(data) || ("env" in data && !isObject(data.env))) process.exit(3);
    return data;
}

function restore(now, before) {
    const env = now.env ?? {}, old = before.env ?? {};
    for (const name of [...String(env[MARK] ?? "").split(" "), MARK]) {
        if (name in old) env[name] = old[name];
        else delete env[name];
    }
    if (Object.keys(env).length === 0 && !("env" in before)) delete now.env;
}

let mode, now, before;
try {
    [mode, now, before] = [process.argv[1], read(process.argv[2]), read(process.argv[3])];
} catch {
    process.exit(3);
}
const isOurs = MARK in (now.env ?? {});
if (mode === "ours") {
    console.log(isOurs ? "yes" : "no");
} else {
    if (isOurs) restore(now, before);
    if (mode === "install") {
        now.env ??= {};
        for (const line of process.env.TOLLGATE_CHANGES.split("\n").filter(Boolean)) {
            const at = line.indexOf("=");
            now.env[line.slice(0, at)] = line.slice(at + 1);
        }
    }
    process.stdout.write(JSON.stringify(now, null, 2) + "\n");
}
' "$@"
}

edit_with_jq() {
    jq -n -r --indent 2 --arg mode "$1" --slurpfile now "$2" --slurpfile before "$3" '
def whole:
    if length > 1 then error("several documents") elif length == 0 then {} else .[0] end
    | if type != "object" then error("no object")
      elif has("env") and (.env | type) != "object" then error("no object")
      else . end;
def restored($old):
    reduce ((.env.TOLLGATE_SETUP | tostring | split(" ")) + ["TOLLGATE_SETUP"])[] as $name (.;
        if ($old.env // {}) | has($name) then .env[$name] = $old.env[$name] else del(.env[$name]) end)
    | if .env == {} and ($old | has("env") | not) then del(.env) else . end;
($now | whole) as $now | ($before | whole) as $old
| (($now.env // {}) | has("TOLLGATE_SETUP")) as $ours
| if $mode == "ours" then (if $ours then "yes" else "no" end)
  else ($now | if $ours then restored($old) else . end)
    | if $mode == "install" then
        reduce (env.TOLLGATE_CHANGES | split("\n")[] | select(. != "")) as $line (.;
            ($line | index("=")) as $at | .env[$line[:$at]] = $line[$at + 1:])
      else . end
  end
' 2>/dev/null
}

# --- Files -------------------------------------------------------------------------------------------------

# The file itself, where a link stands for it: whoever keeps settings elsewhere goes on doing so.
follow() {
    followed=$1
    hops=0
    while [ -L "$followed" ] && [ "$hops" -lt 20 ]; do
        link=$(readlink "$followed")
        case $link in
            /*) followed=$link ;;
            *) followed=$(dirname "$followed")/$link ;;
        esac
        hops=$((hops + 1))
    done
    printf '%s\n' "$followed"
}

# replace FILE NEW: in one step, so that nobody ever reads half of it.
replace() {
    mkdir -p "$(dirname "$1")"
    beside=$(mktemp "$(dirname "$1")/.tollgate.XXXXXX")
    cat "$2" >"$beside"
    chmod 600 "$beside"
    mv -f "$beside" "$1"
}

present() { if [ -f "$1" ]; then printf '%s\n' "$1"; else printf '/dev/null\n'; fi; }

# put FILE NEW WHETHER-OURS: keep what was there, unless it was ours already, and write.
put() {
    if [ -f "$1" ] && cmp -s "$1" "$2"; then
        chmod 600 "$1"
        say "$1 is as it should be already."
        return
    fi
    if [ "$3" = no ]; then
        rm -f "$1.$KEPT"
        if [ -f "$1" ]; then
            replace "$1.$KEPT" "$1"
            debug "what was there is kept in $1.$KEPT"
        fi
    fi
    replace "$1" "$2"
    say "Wrote $1."
}

# put_back FILE RESTORED KEPT-RESTORED: byte for byte what was there, if nobody has changed anything else since.
put_back() {
    if [ -f "$1.$KEPT" ] && cmp -s "$2" "$3"; then
        replace "$1" "$1.$KEPT"
        say "Put $1 back as it was."
    elif [ ! -f "$1.$KEPT" ] && is_nothing "$2"; then
        rm -f "$1"
        say "Removed $1, which was not there before."
    else
        replace "$1" "$2"
        say "Took the gateway out of $1."
    fi
    rm -f "$1.$KEPT"
}

is_nothing() { [ -z "$(tr -d ' \n\t{}' <"$1")" ]; }

# --- Claude Code -------------------------------------------------------------------------------------------

find_settings() {
    if [ -n "$is_project" ]; then
        settings=$PWD/.claude/settings.local.json
    else
        [ -n "${HOME:-}" ] || die "HOME is not set, so there is nowhere to write to."
        settings=${CLAUDE_CONFIG_DIR:-$HOME/.claude}/settings.json
    fi
    settings=$(follow "$settings")
    [ ! -e "$settings" ] || [ -f "$settings" ] || die "$settings is no file; nothing was changed."
}

list_changes() {
    # Empty, so that a key of Anthropic's in somebody's environment does not come first.
    changes="ANTHROPIC_BASE_URL=$base
ANTHROPIC_AUTH_TOKEN=$key
ANTHROPIC_API_KEY="
    if [ "$preset" = gateway ]; then
        changes="$changes
CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY=1"
    fi
    if [ -n "$model" ]; then
        for name in ANTHROPIC_MODEL ANTHROPIC_DEFAULT_OPUS_MODEL ANTHROPIC_DEFAULT_SONNET_MODEL \
            ANTHROPIC_DEFAULT_HAIKU_MODEL ANTHROPIC_DEFAULT_FABLE_MODEL; do
            changes="$changes
$name=$model"
        done
    fi
    names=$(printf '%s\n' "$changes" | sed 's/=.*//' | tr '\n' ' ')
    changes="$changes
$MARK=${names% }"
}

plan_settings() {
    list_changes
    settings_ours=$(edit_json ours "$(present "$settings")" /dev/null) ||
        die "$settings is not JSON that can be edited ('env' and the whole must be objects); nothing was changed."
    kept=/dev/null
    [ "$settings_ours" = no ] || kept=$(present "$settings.$KEPT")
    TOLLGATE_CHANGES=$changes edit_json install "$(present "$settings")" "$kept" >"$work/settings" ||
        die "$settings could not be edited; nothing was changed."
}

uninstall_settings() {
    if [ ! -f "$settings" ]; then
        say "$settings is not there."
        return
    fi
    settings_ours=$(edit_json ours "$settings" /dev/null) ||
        die "$settings is not JSON that can be edited; nothing was changed."
    if [ "$settings_ours" = no ]; then
        say "$settings has nothing of this script in it."
        return
    fi
    kept=$(present "$settings.$KEPT")
    edit_json restore "$settings" "$kept" >"$work/settings" && edit_json restore "$kept" /dev/null >"$work/kept" ||
        die "$settings or its copy could not be read; nothing was changed."
    if [ -n "$is_print" ]; then
        say "Would take the gateway out of $settings."
    else
        put_back "$settings" "$work/settings" "$work/kept"
    fi
}

warn_of_commits() {
    [ -n "$is_project" ] && command -v git >/dev/null 2>&1 || return 0
    git rev-parse --is-inside-work-tree >/dev/null 2>&1 || return 0
    git check-ignore -q .claude/settings.local.json 2>/dev/null ||
        warn ".claude/settings.local.json holds your key and git does not ignore it: add it to .gitignore."
}

# --- Codex -------------------------------------------------------------------------------------------------

find_config() {
    config=$(follow "${CODEX_HOME:-${HOME:-}/.codex}/config.toml")
    [ ! -e "$config" ] || [ -f "$config" ] || die "$config is no file; nothing was changed."
}

# In a basic string of TOML, in JSON, and in curl's own files.
quoted() { printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g'; }

is_toml() {
    [ -n "$knows_toml" ] || return 0 # nobody here could tell
    python 'import sys, tomllib; tomllib.load(open(sys.argv[1], "rb"))' "$1" 2>/dev/null
}

# What this script wrote goes, what it put aside comes back. A block without its end is nobody's to guess about.
without_ours() {
    awk '
        /^# >>> tollgate/ { if (inside) exit 3; inside = 1; next }
        /^# <<< tollgate/ { if (!inside) exit 3; inside = 0; next }
        inside { next }
        { sub(/^#tollgate# /, ""); print }
        END { if (inside) exit 3 }
    ' "$1"
}

# A provider that is written as a value, and not as a table of its own, cannot be put aside line by line.
has_odd_provider() {
    awk '
        /^[ \t]*\[/ { table = $0; gsub(/[ \t\r]/, "", table) }
        table == "" && /^[ \t]*"?model_providers"?[ \t]*[.=]/ { odd = 1 }
        table ~ /^\[model_providers\]/ && /^[ \t]*"?tollgate"?[ \t]*[.=]/ { odd = 1 }
        END { exit !odd }
    ' "$1"
}

with_ours() {
    awk '
        BEGIN { print ENVIRON["TOLLGATE_TOP"]; is_top = 1 }
        /^[ \t]*\[\[?[^]=]*\]\]?[ \t\r]*(#.*)?$/ {
            is_top = 0
            is_old = ($0 ~ /^[ \t]*\[[ \t]*model_providers[ \t]*\.[ \t]*["\047]?tollgate["\047]?[ \t]*[.\]]/)
        }
        is_top && /^[ \t]*"?model_provider"?[ \t]*=/ { print "#tollgate# " $0; next }
        is_top && ENVIRON["TOLLGATE_MODEL"] != "" && /^[ \t]*"?model"?[ \t]*=/ { print "#tollgate# " $0; next }
        is_old { print "#tollgate# " $0; next }
        { print }
        END { print ENVIRON["TOLLGATE_TABLE"] }
    ' "$1"
}

list_toml() {
    toml_top='# >>> tollgate: written by install.sh, taken out by install.sh --uninstall'
    [ -z "$model" ] || toml_top="$toml_top
model = \"$model\""
    toml_top="$toml_top
model_provider = \"tollgate\"
# <<< tollgate"
    toml_table="# >>> tollgate
[model_providers.tollgate]
name = \"Tollgate\"
base_url = \"$codex_base\"
wire_api = \"responses\"
experimental_bearer_token = \"$(quoted "$key")\"
# <<< tollgate"
}

plan_config() {
    list_toml
    config_ours=no
    [ ! -f "$config" ] || ! grep -q '^# >>> tollgate' "$config" || config_ours=yes
    now=$(present "$config")
    is_toml "$now" || die "$config is not valid TOML; nothing was changed."
    without_ours "$now" >"$work/plain" || die "$config has half a block of this script in it; nothing was changed."
    ! has_odd_provider "$work/plain" ||
        die "$config writes its model_providers in a way that this script cannot edit; nothing was changed."
    TOLLGATE_TOP=$toml_top TOLLGATE_TABLE=$toml_table TOLLGATE_MODEL=$model with_ours "$work/plain" >"$work/config"
    is_toml "$work/config" || die "$config could not be edited; nothing was changed."
}

uninstall_config() {
    if [ ! -f "$config" ] || ! grep -q '^# >>> tollgate' "$config"; then
        say "$config has nothing of this script in it."
        return
    fi
    without_ours "$config" >"$work/config" || die "$config has half a block of this script in it; it was left alone."
    awk '{ print }' "$(present "$config.$KEPT")" >"$work/kept"
    if [ -n "$is_print" ]; then
        say "Would take the gateway out of $config."
    else
        put_back "$config" "$work/config" "$work/kept"
    fi
}

# --- One request, to see that it works ---------------------------------------------------------------------

# ask PATH [BODY]: sets status; what was answered is in $work/answer. The key is in no process's arguments.
ask() {
    : >"$work/answer"
    set -- "$base$1" ${2:+--data "$2"}
    status=$(printf 'header = "Authorization: Bearer %s"\n' "$(quoted "$key")" |
        curl -g -sS --max-time 60 --config - -H 'anthropic-version: 2023-06-01' -H 'content-type: application/json' \
            -o "$work/answer" -w '%{http_code}' "$@" 2>"$work/problem") || status=000
    debug "$1 answered $status"
}

reason() {
    tr -d '\n' <"$work/answer" | sed -n 's/.*"message" *: *"\([^"]*\)".*/: \1/p' | cut -c 1-300
}

try_it() {
    if ! command -v curl >/dev/null 2>&1; then
        warn "Without curl nothing could be tried; the settings are written."
        return
    fi
    say "Trying $label …"
    if [ -n "$model" ]; then
        ask /v1/messages "{\"model\":\"$model\",\"max_tokens\":16,\"messages\":[{\"role\":\"user\",\"content\":\"Say OK.\"}]}"
    else
        ask "$check"
    fi
    case $status in
        2??) [ -n "$model" ] || tell_models ;;
        000) die "The settings are written, but $label cannot be reached: $(sed 's/^curl: //' "$work/problem")" ;;
        401 | 403) die "The settings are written, but $label refuses the key (status $status)$(reason)" ;;
        *) die "The settings are written, but $label answered with status $status$(reason)" ;;
    esac
}

tell_models() {
    [ "$preset" = gateway ] || return 0
    models=$(tr ',{' '\n\n' <"$work/answer" | sed -n 's/.*"id" *: *"\([^"]*\)".*/\1/p' | sort -u)
    [ -n "$models" ] || return 0
    say "Your key may use: $(printf '%s\n' "$models" | head -n 12 | tr '\n' ' ')"
    printf '%s\n' "$models" | grep -q '^claude' ||
        warn "No model in this list is called claude-…, which is what Claude Code asks for: choose one with --model=…"
}

# --- All of it ---------------------------------------------------------------------------------------------

uninstall() {
    uninstall_settings
    [ -n "$is_project" ] || uninstall_config
    [ -z "$is_print" ] || say "Nothing was changed."
}

show() {
    say "Into \"env\" of $settings (mode 0600; everything else in it stays):"
    printf '%s\n' "$changes" | sed 's/^\([^=]*\)=/  \1 = /'
    if [ -n "$codex_base" ]; then
        say "Into $config (mode 0600; everything else in it stays):"
        printf '%s\n%s\n' "$toml_top" "$toml_table" | sed '/^# /d; s/^/  /'
    fi
    say "Nothing was written."
}

main() {
    read_arguments "$@"
    choose_server
    find_settings
    find_config
    trap 'clean_up' EXIT
    trap 'clean_up; exit 130' INT TERM
    work=$(mktemp -d "${TMPDIR:-/tmp}/tollgate.XXXXXX")
    find_engine
    if [ -n "$is_uninstall" ]; then
        uninstall
        return
    fi
    choose_key
    plan_settings
    [ -z "$codex_base" ] || plan_config
    if [ -n "$is_print" ]; then
        show
        return
    fi
    put "$settings" "$work/settings" "$settings_ours"
    [ -z "$codex_base" ] || put "$config" "$work/config" "$config_ours"
    warn_of_commits
    try_it
    say "Done. Start claude${codex_base:+ or codex} anew; --uninstall takes it back."
}

# Nothing runs before this line has arrived: half a script does nothing. Standard input may be the script itself.
main "$@" </dev/null
