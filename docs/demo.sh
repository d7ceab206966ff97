#!/bin/sh
# The main job on a throwaway repository, offline: sh docs/demo.sh path/to/sandbox-coder
set -eu
bin=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
demo=$(mktemp -d "${TMPDIR:-/tmp}/sandbox-coder-demo.XXXXXX")
export SANDBOX_CODER_STATE_DIR="$demo/state" SANDBOX_CODER_PROVIDER=local
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=demo GIT_AUTHOR_EMAIL=demo@example.invalid
export GIT_COMMITTER_NAME=demo GIT_COMMITTER_EMAIL=demo@example.invalid
finish() {
  "$bin" rm --force --quiet >/dev/null 2>&1 || :
  [ ! -f "$demo/state/local/server.json" ] ||
    kill "$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' "$demo/state/local/server.json")" 2>/dev/null || :
  cd / && chmod -R u+w "$demo" && rm -rf "$demo"
}
trap finish EXIT
trap 'exit 130' INT TERM
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "1. A repository with a linked worktree, one failing test and an ignored secret"
git init -q -b main "$demo/project" && cd "$demo/project"
mkdir src && printf '.env\n' >.gitignore && printf 'TOKEN=never-sent\n' >.env
printf 'greet() { echo "Helo $1"; }\n' >src/greet.sh
printf '. ./src/greet.sh\n[ "$(greet you)" = "Hello you" ] && echo "1 test passed" || { echo "1 test FAILED"; exit 1; }\n' >test.sh
printf 'old notes\n' >NOTES.old && printf 'nobody reads this\n' >unused.txt
git add . && git commit -qm 'Start' && git worktree add -q -b fix "$demo/fix" && cd "$demo/fix"
printf 'TOKEN=never-sent\n' >.env
sh test.sh || :

say "2. sandbox-coder runs an agent on it in an isolated sandbox (here the agent is a shell script)"
cat >"$demo/agent.sh" <<'AGENT'
echo "I was asked: $(cat "$SANDBOX_CODER_PROMPT_FILE")"
echo "I am $(id -un) in $(pwd); the home of $(hostname) holds: $(ls "$HOME" | tr '\n' ' ')"
[ ! -e .env ] && echo "there is no .env here"
sed -i 's/Helo/Hello/' src/greet.sh
mv NOTES.old NOTES.md
rm unused.txt
printf '# Changes\n- greet people properly\n' >CHANGES.md
sh test.sh
AGENT
"$bin" run --agent-command "$(cat "$demo/agent.sh")" "fix the greeting"

say "3. What came home"
git add --intent-to-add . && git --no-pager -c color.ui=always diff --stat -M && git --no-pager -c color.ui=always diff src/greet.sh
git reset -q
sh test.sh
test "$(cat .env)" = TOKEN=never-sent && echo ".env is as it was"

say "4. And it can be undone"
"$bin" undo && git status --short && echo "the worktree is as it was"
