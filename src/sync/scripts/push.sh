# Applies what differs. FROM is the base the archive starts from (`-` for a whole tree), TO the tree it leads
# to, SHA and A (absolute or `inline`) the archive, DATA the archive itself in base64 when it is inline.
# Every step can be killed and repeated; the base moves last, after the result was verified.
[ "$A" != inline ] || A="$S/in.$ID.tar.gz"
rm_archive() { rm -f "$A"; }
if [ -e "$S/txn" ]; then
  [ "$(cat "$S/txn")" = "$FROM $TO" ] || refuse 76 torn "$(cat "$S/txn")"
elif [ "$base" != - ]; then
  # Work that was never fetched is not written over.
  look "$S/look.idx"
  [ "$tree" = "$base" ] || { rm_archive; refuse 85 dirty "$base" "$tree"; }
  [ ! -e "$S/look.idx" ] || mv -f "$S/look.idx" "$S/index"
  if [ "$base" = "$TO" ]; then rm_archive; say ok "$TO" already; exit 0; fi
  [ "$base" = "$FROM" ] || { rm_archive; refuse 77 stale "$base"; }
elif [ "$FROM" != - ]; then
  rm_archive; refuse 77 stale -
fi
[ -z "$DATA" ] || printf '%s' "$DATA" | base64 -d >"$A" || refuse 94 disk "the archive could not be written"
[ -e "$A" ] || refuse 78 corrupt
[ "$(sha256sum <"$A" | cut -c1-64)" = "$SHA" ] || { rm_archive; refuse 78 corrupt; }
rm -rf "$S/stage"; mkdir -m 700 "$S/stage" || refuse 94 disk "no room for the archive"
L="$S/stage"
if [ "$FROM" = - ] && [ ! -e "$S/txn" ]; then
  # What lies in the way of a first sync is put aside, never deleted.
  if [ -n "$(ls -A "$W" 2>/dev/null)" ]; then
    mv "$W" "$W.before-$ID" && mkdir -p "$W" || refuse 94 disk "cannot put the old workspace aside"
    say aside "$W.before-$ID"
  fi
fi
tar -xzf "$A" -C "$L" c 2>"$S/err" || refuse 94 disk "$(head -c 200 "$S/err" | tr '\n' ' ')"
if [ "$FROM" != - ]; then
  # All of it is on the disk before the workspace is touched.
  [ ! -s "$L/c/n" ] || tar -xzf "$A" -C "$L" f 2>"$S/err" || refuse 94 disk "$(head -c 200 "$S/err" | tr '\n' ' ')"
fi
printf '%s' "$FROM $TO" >"$S/txn.n" && mv -f "$S/txn.n" "$S/txn" || refuse 94 disk "no room for the journal"
cd "$W"
each() { [ ! -s "$L/c/$1" ] || xargs -0 sh -c "$2" sh <"$L/c/$1"; }
each w 'for p do [ -d "./$p" ] && [ ! -L "./$p" ] && [ ! -w "./$p" ] && chmod u+wx "./$p"; done; :'
each d 'for p do if [ -d "./$p" ] && [ ! -L "./$p" ]; then :; else rm -f -- "./$p"; fi; done'
each r 'for p do rm -rf -- "./$p"; done'
if [ -s "$L/c/n" ]; then
  if [ "$FROM" = - ]; then tar -xzpf "$A" -C "$W" --strip-components=1 f 2>"$S/err" || refuse 94 disk "$(head -c 200 "$S/err" | tr '\n' ' ')"
  else tar -C "$L/f" -cf - . | tar -xpf - -C "$W" 2>"$S/err" || refuse 94 disk "$(head -c 200 "$S/err" | tr '\n' ' ')"; fi
fi
each e 'for p do rmdir -- "./$p" 2>/dev/null || :; done'
export GIT_INDEX_FILE="$S/index.n"
rm -f "$S/index.n" "$S/index.n.lock"
# A copy that lost the fraction of its time would hide an edit of the same second: it must look older.
[ "$FROM" = - ] || [ ! -e "$S/index" ] || cp -p "$S/index" "$S/index.n"
[ ! -s "$L/c/i" ] || git update-index -z --index-info <"$L/c/i"
[ ! -s "$L/c/l" ] || git update-index -z --add --stdin <"$L/c/l"
git update-index -q --refresh >/dev/null 2>&1 || :
git diff-files --quiet || refuse 79 verify-failed "$(git diff-files --name-only -z | head -c 300 | base64 | tr -d '\n')"
[ "$(git write-tree --missing-ok)" = "$TO" ] || refuse 80 tree-mismatch
mv -f "$S/index.n" "$S/index"
printf '%s' "$TO" >"$S/base.n" && mv -f "$S/base.n" "$S/base"
rm -f "$S/txn"; rm -rf "$S/stage"; rm_archive
unset GIT_INDEX_FILE
if [ "$FROM" = - ] && [ ! -e "$W/.git" ]; then
  # A repository of the agent's own, for tools that want one. It is a convenience and never read by us.
  ( unset GIT_DIR GIT_WORK_TREE; export GIT_AUTHOR_NAME=sandbox-coder GIT_AUTHOR_EMAIL=sandbox-coder@localhost
    export GIT_COMMITTER_NAME=sandbox-coder GIT_COMMITTER_EMAIL=sandbox-coder@localhost
    git init -q . && git config user.name sandbox-coder && git config user.email sandbox-coder@localhost &&
    git config gc.auto 0 && git -c core.looseCompression=0 add -A &&
    git commit -q --no-verify --allow-empty -m 'The worktree as it was sent' ) >/dev/null 2>&1 || :
fi
say ok "$TO"
