#!/bin/sh
# The main job on the shipped models, with a store of its own. Prints each command it runs.
# The store is kept: what one run has measured, the next need not measure again.
set -eu

LMSTRIX_HOME=$PWD/.demo
export LMSTRIX_HOME
LMSTRIX_SHIPPED_MODELS=true
export LMSTRIX_SHIPPED_MODELS
trap 'lmstrix unload --all --quiet >/dev/null 2>&1 || true' EXIT

run() {
    printf '\n$ %s\n' "$(for word; do
        case $word in *[!a-zA-Z0-9_./:=-]*) printf '"%s" ' "$word" ;; *) printf '%s ' "$word" ;; esac
    done)"
    "$@"
}

run lmstrix scan
run lmstrix list
run lmstrix fit tiny-chat
run lmstrix test --all
run lmstrix list
run lmstrix infer "What is the capital of Poland?" tiny-chat --stream --verbose
