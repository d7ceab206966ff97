# Applies what differs. FROM is the base the archive starts from (`-` for a whole tree), TO the tree it leads
# to, SHA and A (absolute or `inline`) the archive, DATA the archive itself in base64 when it is inline. CARRIED is the
# history, not yet in place, that has the contents of the files in the list `h`, or `-`.
# Every step can be killed and repeated; the base moves last, after the result was verified.
[ "$A" != inline ] || A="$S/in.$ID.tar.gz"
rm_archive() { drop "$A"; }
# What the user ignores beside the ignore files is ignored here from now on: what was made before that was fetched.
heed() {
  { [ -z "$plain" ] && [ -n "${EXCLUDES_ID-}" ]; } || return 0
  known=; [ ! -e "$S/git/excludes" ] || read -r known <"$S/git/excludes"
  [ "$known" != "$EXCLUDES_ID" ] || return 0
  { printf '%s' "$EXCLUDES" | base64 -d; echo '/.sandbox-coder/'; } >"$S/git/info/exclude.n" &&
  mv -f "$S/git/info/exclude.n" "$S/git/info/exclude" && echo "$EXCLUDES_ID" >"$S/git/excludes" || refuse 94 disk "cannot write $S/git"
}
if [ -e "$S/txn" ]; then
  [ "$(cat "$S/txn")" = "$FROM $TO" ] || { rm_archive; refuse 76 torn "$(cat "$S/txn")"; }
elif drop "$S/txn.clear" "$S/aside" "$S/stage"; [ "$base" != - ]; then
  # Work that was never fetched is not written over.
  look "$S/look.idx"
  [ "$tree" = "$base" ] || { rm_archive; refuse 85 dirty "$base" "$tree"; }
  [ ! -e "$S/look.idx" ] || mv -f "$S/look.idx" "$S/index"
  heed
  if [ "$base" = "$TO" ]; then rm_archive; say ok "$TO" already; exit 0; fi
  [ "$base" = "$FROM" ] || { rm_archive; refuse 77 stale "$base"; }
elif [ "$FROM" != - ]; then
  rm_archive; refuse 77 stale -
else
  heed
fi
[ -z "$DATA" ] || printf '%s' "$DATA" | base64 -d >"$A" || refuse 94 disk "the archive could not be written"
[ -e "$A" ] || refuse 78 corrupt
[ "$(sha256sum <"$A" | cut -c1-64)" = "$SHA" ] || { rm_archive; refuse 78 corrupt; }
# All of it is on the disk before the workspace is touched.
L="$S/stage"
rm -rf "$L"; mkdir -m 700 "$L" || refuse 94 disk "no room for the archive"
tar -xzof "$A" -C "$L" 2>"$S/err" || { rm -rf "$L"; refuse 94 disk "$(brief "$S/err")"; }
# What came with the history did not come twice. It is verified below, like the rest.
if [ -s "$L/c/h" ]; then
  H="$S/history.git"
  [ -z "$plain" ] && [ "$(cat "$H/ready" 2>/dev/null)" = "$CARRIED" ] && mkdir -p "$L/f" && (
    export GIT_INDEX_FILE="$L/index" GIT_WORK_TREE="$L/f" GIT_ALTERNATE_OBJECT_DIRECTORIES="$H/objects"
    git update-index -z --index-info <"$L/c/i" && cd "$L/f" && git -c checkout.workers=0 checkout-index -z --stdin <"$L/c/h"
  ) 2>"$S/err" || { rm -rf "$L"; rm_archive; refuse 83 lacking; }
fi
# What is put aside is never deleted. A push that was cut short goes on with the place it had chosen.
K=$(cat "$S/aside" 2>/dev/null || echo "$W.before-$ID")
[ -e "$S/aside" ] || { printf '%s' "$K" >"$S/aside.n" && mv -f "$S/aside.n" "$S/aside"; } || refuse 94 disk "no room for the journal"
printf '%s' "$FROM $TO" >"$S/txn.n" && mv -f "$S/txn.n" "$S/txn" || refuse 94 disk "no room for the journal"
cd "$W" || refuse 94 disk "cannot enter $W"
export K W
each() { [ ! -s "$L/c/$1" ] || xargs -0 sh -c "$2" sh <"$L/c/$1"; }
# The list $1, each path $p as a shell sees it; `away` moves one out of the way.
put='away() {
  [ ! -d "./$1" ] || [ -L "./$1" ] || { rmdir -- "./$1" 2>/dev/null && return; chmod u+rwx "./$1"; }
  case $1 in */*) mkdir -p "$K/${1%/*}";; *) mkdir -p "$K";; esac && mv -f -- "./$1" "$K/$1" || bad=1
}
bad=0
'
if [ "$FROM" = - ]; then
  # A whole tree: nothing of what lies here is known. The tree that was unpacked becomes the workspace.
  if [ ! -e "$S/txn.clear" ]; then
    [ -z "$(ls -A "$W" 2>/dev/null)" ] || { cd "$HOME" && mv "$W" "$K" && mkdir "$W"; } || refuse 94 disk "cannot put the old workspace aside"
    : >"$S/txn.clear" || refuse 94 disk "no room for the journal"
  fi
  cd "$HOME"
  if [ -d "$L/f" ]; then
    # After a cut it may be there already; nothing in it is removed.
    rmdir "$W" 2>/dev/null || :
    if [ -e "$W" ]; then ( cd "$L/f" && tar -cf - . ) | tar -xpof - -C "$W" 2>"$S/err" || refuse 94 disk "$(brief "$S/err")"
    else chmod 755 "$L/f" && mv "$L/f" "$W" || refuse 94 disk "cannot put the workspace in place"; fi
  fi
  cd "$W" || refuse 94 disk "cannot enter $W"
else
  each w 'for p do [ ! -d "./$p" ] || [ -L "./$p" ] || { [ -r "./$p" ] && [ -w "./$p" ] && [ -x "./$p" ]; } || chmod u+rwx "./$p"; done'
  each d 'bad=0; for p do if [ -L "./$p" ] || { [ -e "./$p" ] && [ ! -d "./$p" ]; }; then rm -f -- "./$p" || bad=1; fi; done; exit $bad' ||
    refuse 79 verify-failed "$(printf 'a file cannot be removed' | base64)"
  each e 'for p do rmdir -- "./$p" 2>/dev/null || :; done'
  # What git ignores over here may lie in the way, also as a link above a path: it is kept, and nothing is
  # written through it. Once that is done, what lies there is ours.
  if [ ! -e "$S/txn.clear" ]; then
    each r "$put"'for p do [ ! -d "./$p" ] || [ -L "./$p" ] || away "$p"; done; exit $bad' &&
    each w "$put"'for p do if [ -L "./$p" ] || { [ -e "./$p" ] && [ ! -d "./$p" ]; }; then away "$p"; fi; done; exit $bad' &&
    each a "$put"'for p do if [ -L "./$p" ] || [ -e "./$p" ]; then away "$p"; fi; done; exit $bad' && : >"$S/txn.clear"
  fi || refuse 94 disk "cannot put aside what lies in the way"
  # File by file, so that no folder's mode is touched.
  if [ -s "$L/c/f" ]; then
    ( cd "$L/f" && xargs -0 sh -c 'for p do set -- "$@" "./$p"; shift; done; tar -cf - "$@" | tar -xpof - -C "$W"' sh <"$L/c/f" ) 2>"$S/err" ||
      refuse 94 disk "$(brief "$S/err")"
  fi
fi
if [ -n "$plain" ]; then note || refuse 79 verify-failed "$(printf 'what lies there is not what was sent' | base64)"
else
rm -f "$S/plain"
export GIT_INDEX_FILE="$S/index.n"
rm -f "$S/index.n" "$S/index.n.lock"
[ "$FROM" = - ] || [ ! -e "$S/index" ] || cp -p "$S/index" "$S/index.n" || refuse 94 disk "cannot copy the index"
# Entries are set or removed by name: after a cut between the two moves below, twice is once.
if [ -e "$L/index" ]; then mv -f "$L/index" "$S/index.n"
elif [ -s "$L/c/i" ]; then git update-index -z --index-info <"$L/c/i"
fi 2>"$S/err" || refuse 94 disk "$(brief "$S/err")"
# Git compares a link with its content, which is not here until the link was read.
{ [ ! -s "$L/c/l" ] || git update-index -z --add --stdin <"$L/c/l"; } 2>"$S/err" || refuse 79 verify-failed "$(brief "$S/err" | base64 | tr -d '\n')"
git update-index -q --refresh >/dev/null 2>&1 || :
git diff-files --quiet || refuse 79 verify-failed "$(git diff-files --name-only -z | head -c 300 | base64 | tr -d '\n')"
[ "$(git write-tree --missing-ok)" = "$TO" ] || refuse 80 tree-mismatch
unset GIT_INDEX_FILE
fi
if [ "$FROM" = - ]; then
  # Agents commit; git refuses without a name. One that is there stays.
  ( unset GIT_DIR GIT_WORK_TREE GIT_CONFIG_GLOBAL GIT_CONFIG_NOSYSTEM
    git config --global user.email || { git config --global user.name sandbox-coder && git config --global user.email sandbox-coder@localhost; }
  ) >/dev/null 2>&1 || :
fi
mv -f "$S/index.n" "$S/index" && printf '%s' "$TO" >"$S/base.n" && mv -f "$S/base.n" "$S/base" || refuse 94 disk "no room for the base"
rm -f "$S/txn" "$S/txn.clear" "$S/aside"; rm -rf "$L"; rm_archive
[ ! -e "$K" ] || say aside "$K"
say ok "$TO"
