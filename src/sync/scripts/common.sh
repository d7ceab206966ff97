# Variables: ID of this sync. W is the workspace, S our state; both on one file system.
W="$HOME/workspace" S="$HOME/.sandbox-coder/sync"
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_OPTIONAL_LOCKS=0 GIT_TERMINAL_PROMPT=0
# Busybox holds links back that point upwards unless it is told that they are meant.
export EXTRACT_UNSAFE_SYMLINKS=1
# Git takes a quarter of a megabyte for each object it writes; glibc would give it back to the kernel each time.
export MALLOC_TRIM_THRESHOLD_=67108864 MALLOC_TOP_PAD_=1048576
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_COMMON_DIR GIT_NAMESPACE TAR_OPTIONS GZIP
refuse() { code=$1; shift; say "$@"; exit "$code"; }
brief() { head -c 200 "$1" 2>/dev/null | tr '\n' ' '; }
need() { for tool do command -v "$tool" >/dev/null 2>&1 || refuse 93 tool-missing "$tool"; done; }
need tar gzip sha256sum base64 xargs sed
# Processes are what a look costs where nothing changed: none is started for nothing.
drop() { for old do if [ -e "$old" ] || [ -L "$old" ]; then rm -rf "$@"; return; fi; done; }
{ [ -d "$S" ] && [ -d "$W" ]; } || mkdir -p "$S" "$W" 2>/dev/null || refuse 94 disk "cannot make $S or $W"
# One sync at a time. Without flock a link is the lock: it is made in one step together with its owner's
# number and start, so that one left by a dead process is known and taken over.
if command -v flock >/dev/null 2>&1; then
  exec 9>"$S/lock" || refuse 94 disk "cannot make $S/lock"
  flock -n 9 || refuse 75 busy
else
  mark() { echo "$1.$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20)"; }
  me=$(mark $$)
  if ! ln -s "$me" "$S/lock.link" 2>/dev/null; then
    owner=$(readlink "$S/lock.link")
    [ -n "$owner" ] && [ "$(mark "${owner%%.*}")" != "$owner" ] || refuse 75 busy
    mv -f "$S/lock.link" "$S/lock.dead.$$" 2>/dev/null || refuse 75 busy
    found=$(readlink "$S/lock.dead.$$"); rm -f "$S/lock.dead.$$"
    if [ "$found" != "$owner" ]; then ln -s "$found" "$S/lock.link" 2>/dev/null; refuse 75 busy; fi
    ln -s "$me" "$S/lock.link" 2>/dev/null || refuse 75 busy
  fi
  trap 'rm -f "$S/lock.link"' EXIT
fi
# Uploads that nobody came for; one under way is younger.
for old in "$S"/in.*; do
  [ ! -e "$old" ] || find "$S" -maxdepth 1 -name 'in.*' -mmin +10 -exec rm -f {} + 2>/dev/null
  break
done
base=; [ ! -e "$S/base" ] || read -r base <"$S/base"
[ -n "$base" ] || base=-
# Whether git keeps the books or a list does is decided with each whole tree: an agent may install git, or remove it.
plain=; [ ! -e "$S/plain" ] || plain=1
[ "$base" != - ] || { plain=1; ! command -v git >/dev/null 2>&1 || plain=; }
if [ -n "$plain" ]; then need find stat sort cmp paste awk sha1sum readlink; else need git; fi
# A repository of our own: only an index and the trees of both sides. It never reads the workspace's `.git`.
[ -n "$plain" ] || [ -e "$S/git/ready" ] || {
  rm -rf "$S/git"
  git init -q --bare "$S/git" >/dev/null 2>"$S/err" || refuse 94 disk "$(brief "$S/err")"
  mkdir -p "$S/git/info"
  printf '%s\n' '* -text -eol -filter -ident -working-tree-encoding' >"$S/git/info/attributes" &&
  printf '%s\n' '/.sandbox-coder/' >"$S/git/info/exclude" &&
  printf '[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tautocrlf = false\n\tfileMode = true\n\tsymlinks = true\n\tcompression = 0\n\tlooseCompression = 0\n\tbigFileThreshold = 8m\n\thooksPath = /dev/null\n\tuntrackedCache = false\n[gc]\n\tauto = 0\n[advice]\n\taddEmbeddedRepo = false\n' >"$S/git/config" &&
  : >"$S/git/ready" || refuse 94 disk "cannot write $S/git"
}
export GIT_DIR="$S/git" GIT_WORK_TREE="$W"
# The tree of the workspace as it is, into the index $1: repositories inside are left out and named in `nested`.
look() {
  [ -z "$plain" ] || { list "$1"; tree=$base; cmp -s "$S/index" "$1" || tree=other; return 0; }
  # Also what is about to be written: it may be a link by now.
  drop "$1" "$1.lock" "$S/m" "$S/oids" "$S/out.n"
  [ ! -e "$S/index" ] || cp -p "$S/index" "$1" || refuse 94 disk "cannot copy the index"
  add_all() { ( cd "$W" && GIT_INDEX_FILE=$1 git add -A --ignore-errors . ) >/dev/null 2>"$S/err" || :; }
  add_all "$1"
  # A file that went away while git looked ends its look: it looks again.
  again=5
  while [ -s "$S/err" ] && [ $again -gt 0 ] && grep -q '^fatal: unable to stat' "$S/err"; do
    again=$((again-1)); rm -f "$1.lock"; add_all "$1"
  done
  # An index that was damaged is made anew from the base; git then reads every file once.
  if [ -s "$S/err" ] && ! GIT_INDEX_FILE=$1 git ls-files -s -z >/dev/null 2>&1; then
    rm -f "$1" "$1.lock"
    [ "$base" = - ] || GIT_INDEX_FILE=$1 git read-tree "$base" 2>"$S/err" || refuse 94 disk "$(brief "$S/err")"
    add_all "$1"
  fi
  : >"$S/nested"
  if [ -s "$S/err" ] && grep -q 'embedded git repository' "$S/err"; then
    # Names may hold newlines: they change places with the end marks while sed looks.
    GIT_INDEX_FILE=$1 git ls-files -s -z >"$S/all" || refuse 94 disk "git ls-files failed"
    tr '\n\0' '\001\n' <"$S/all" | sed -n 's/^160000 [0-9a-f]* [0-3].//p' >"$S/nested"
    # A warning ends where the next message begins: a name may hold newlines.
    sed -e ':top' -e '/^warning: adding embedded git repository/!b' -e ':skip' -e '$d' -e 'N' -e 's/.*\n//' \
      -e '/^error: /b' -e '/^fatal: /b' -e '/^warning: /b top' -e 'b skip' "$S/err" >"$S/err.n"; mv -f "$S/err.n" "$S/err"
    rm -f "$S/all"
  fi
  # One without a commit is no entry for git. It is left out like the others.
  unborn="^error: '\(.*\)/' does not have a commit checked out$"
  if [ -s "$S/err" ] && grep -q "$unborn" "$S/err"; then
    sed -n "s,$unborn,\1,p" "$S/err" >>"$S/nested"; grep -v "$unborn" "$S/err" >"$S/err.n"; mv -f "$S/err.n" "$S/err"
  fi
  # A link that leads to itself where a folder was: nothing lies beyond it that could be missed.
  loops() { grep "$@" -e 'Too many levels of symbolic links' -e 'Symbolic link loop' "$S/err"; }
  [ ! -s "$S/err" ] || ! loops -q || { loops -v >"$S/err.n"; mv -f "$S/err.n" "$S/err"; }
  [ ! -s "$S/nested" ] || tr '\n\001' '\0\n' <"$S/nested" | ( cd "$W" && GIT_INDEX_FILE=$1 git update-index -z --force-remove --stdin )
  tree=$(GIT_INDEX_FILE=$1 git write-tree --missing-ok 2>"$S/err2") || refuse 94 disk "$(brief "$S/err2")"
}
# Says where the archive `out.gz` lies that leads from the base to what $1 names, and what it holds if that is little.
offer() {
  printf '%s' "$1" >"$S/out.tree"
  size=$(wc -c <"$S/out.gz" | tr -d ' ')
  say "$2" "$base" "$1" "$3" "$size" "$(sha256sum <"$S/out.gz" | cut -c1-64)" "$S/out.gz"
  [ "$size" -gt "$INLINE" ] || say data "$(base64 <"$S/out.gz" | tr -d '\n')"
}
