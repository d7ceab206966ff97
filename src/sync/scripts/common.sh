# Variables: ID of this sync. W is the workspace, S our state; both on one file system.
W="$HOME/workspace" S="$HOME/.sandbox-coder/sync"
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_OPTIONAL_LOCKS=0 GIT_TERMINAL_PROMPT=0
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_COMMON_DIR GIT_NAMESPACE
refuse() { code=$1; shift; say "$@"; exit "$code"; }
for tool in tar gzip git sha256sum base64; do
  command -v $tool >/dev/null 2>&1 || refuse 93 tool-missing $tool
done
mkdir -p "$S" "$W" 2>/dev/null || refuse 94 disk "cannot make $S or $W"
# One sync at a time. Without flock a folder is the lock; one left by a dead process is taken over.
if command -v flock >/dev/null 2>&1; then
  exec 9>"$S/lock"; flock -n 9 || refuse 75 busy
else
  owner=$(cat "$S/lock.d/pid" 2>/dev/null || echo 0)
  [ ! -d "$S/lock.d" ] || [ "$owner" = 0 ] || kill -0 "$owner" 2>/dev/null || rm -rf "$S/lock.d"
  mkdir "$S/lock.d" 2>/dev/null || refuse 75 busy
  echo $$ >"$S/lock.d/pid"; trap 'rm -rf "$S/lock.d"' EXIT
fi
# A repository of our own: only an index and the trees of both sides. It never reads the workspace's `.git`.
[ -e "$S/git/ready" ] || {
  rm -rf "$S/git"
  git init -q --bare "$S/git" >/dev/null 2>&1 || refuse 94 disk "git init failed"
  mkdir -p "$S/git/info"
  printf '%s\n' '* -text -eol -filter -ident -working-tree-encoding' >"$S/git/info/attributes"
  printf '%s\n' '/.sandbox-coder/' >"$S/git/info/exclude"
  printf '[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tautocrlf = false\n\tfileMode = true\n\tsymlinks = true\n\tcompression = 0\n\tlooseCompression = 0\n\tbigFileThreshold = 8m\n\thooksPath = /dev/null\n\tuntrackedCache = false\n[gc]\n\tauto = 0\n[safe]\n\tdirectory = *\n[advice]\n\taddEmbeddedRepo = false\n' >"$S/git/config"
  : >"$S/git/ready"
}
export GIT_DIR="$S/git" GIT_WORK_TREE="$W"
base=$(cat "$S/base" 2>/dev/null || echo -)
# The tree of the workspace as it is, into the index $1: repositories inside are left out and counted.
look() {
  [ ! -e "$S/index" ] || cp -p "$S/index" "$1"
  [ -e "$S/index" ] || rm -f "$1"
  rm -f "$1.lock"; : >"$S/nested"
  ( cd "$W" && GIT_INDEX_FILE=$1 git add -A --ignore-errors . ) >/dev/null 2>"$S/err" || :
  ( cd "$W" && GIT_INDEX_FILE=$1 git ls-files -s -z ) | tr '\n\0' '\001\n' | sed -n 's/^160000 [^\t]*\t//p' >"$S/nested"
  [ ! -s "$S/nested" ] || tr '\n\001' '\0\n' <"$S/nested" | ( cd "$W" && GIT_INDEX_FILE=$1 git update-index -z --force-remove --stdin )
  tree=$(GIT_INDEX_FILE=$1 git write-tree --missing-ok 2>"$S/err2") || refuse 94 disk "$(head -c 200 "$S/err2" | tr '\n' ' ')"
}
