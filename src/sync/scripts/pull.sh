# Tells what differs from the base, or from the tree SINCE that came before it (`-` for none). MAXN limits the
# paths, INLINE the bytes that travel in the answer, NAMES those of the names that an edited ignore file keeps here.
[ ! -e "$S/txn" ] || refuse 76 torn "$(cat "$S/txn")"
[ "$base" != - ] || refuse 77 stale -
from=$base
[ "$SINCE" = - ] || from=$SINCE
if [ -n "$plain" ]; then
  # Which lines differ; the host says which contents it wants. Of the time before the base there is no list: all
  # of them do.
  list "$S/out.idx"
  [ ! -s "$S/err" ] || say trouble "$(head -c 600 "$S/err" | base64 | tr -d '\n')"
  if [ "$SINCE" = - ]; then known="$S/index"; else known=/dev/null; say since "$from"; fi
  differ "$known" "$S/out.idx" >"$S/m" || refuse 94 disk "no room for the result"
  [ -s "$S/m" ] || [ "$SINCE" != - ] || { say out "$base" "$base" 0 0 - -; exit 0; }
  n=$(wc -l <"$S/m" | tr -d ' ')
  [ "$n" -le $((MAXN * 20)) ] || refuse 81 toomany "$n"
  sed -n 's,^repository ,=,p' "$S/out.idx" >>"$S/m"
  gzip -1 <"$S/m" >"$S/out.n" && mv -f "$S/out.n" "$S/out.gz" || refuse 94 disk "no room for the result"
  offer "$(sha256sum <"$S/out.idx" | cut -c1-40)" list "$n"
  exit 0
fi
tries=0
while :; do
  look "$S/out.idx"
  [ "$tree" != "$from" ] || break
  # Somebody may still be writing: two looks in a row have to agree.
  first=$tree; look2="$S/out2.idx"
  cp -p "$S/out.idx" "$look2"; ( cd "$W" && GIT_INDEX_FILE=$look2 git diff-files --quiet ) && break
  tries=$((tries+1)); [ $tries -lt 3 ] || { say moving; break; }
done
drop "$S/out2.idx"
[ ! -s "$S/nested" ] || say nested "$(head -c 3000 "$S/nested" | base64 | tr -d '\n')"
[ ! -s "$S/err" ] || say trouble "$(head -c 600 "$S/err" | base64 | tr -d '\n')"
differs() { git diff-tree -r --raw -z --no-renames --no-abbrev "$from" "$tree" >"$S/m" 2>/dev/null; }
if [ "$SINCE" != - ]; then
  differs || from=4b825dc642cb6eb9a060e54bf8d69288fbee4904
  say since "$from"
  # Of what came with a push only the name is known: the contents are read now.
  git diff-tree -r -z --no-renames --name-only --diff-filter=d "$from" "$tree" >"$S/all" &&
  ( cd "$W" && export GIT_INDEX_FILE="$S/out.idx" &&
    git update-index -z --force-remove --stdin <"$S/all" && git update-index -z --add --remove --stdin <"$S/all" ) 2>"$S/err2" &&
  tree=$(GIT_INDEX_FILE=$S/out.idx git write-tree --missing-ok 2>"$S/err2") || refuse 94 disk "$(brief "$S/err2")"
  rm -f "$S/all"
fi
[ "$tree" != "$from" ] || { say out "$base" "$tree" 0 0 - -; exit 0; }
# A base whose trees are gone is made again from what was agreed, if that is still there.
differs || { [ "$(GIT_INDEX_FILE=$S/index git write-tree --missing-ok 2>/dev/null)" = "$base" ] && differs; } ||
  refuse 94 disk "git diff-tree failed"
! tr '\0' '\n' <"$S/m" | grep -q '\.gitignore$' || say ignored "$( cd "$W" && GIT_INDEX_FILE=$S/out.idx git ls-files -z -o -i --exclude-standard --directory 2>/dev/null |
  head -c "$NAMES" | base64 | tr -d '\n')"
n=$(tr '\0' '\n' <"$S/m" | grep -c '^:' || :)
[ "$n" -le "$MAXN" ] || refuse 81 toomany "$n"
tr '\0' '\n' <"$S/m" | sed -n -e 's/^:[0-7]* 10[0-7]* [0-9a-f]* \([0-9a-f]*\) [AMT]$/\1/p' -e 's/^:[0-7]* 120000 [0-9a-f]* \([0-9a-f]*\) [AMT]$/\1/p' | sort -u >"$S/oids"
{ printf 'SBXOUT1 %s %s %s\0' "$from" "$tree" "$(wc -c <"$S/m" | tr -d ' ')"; cat "$S/m"
  git cat-file --batch --buffer <"$S/oids"; } | gzip -1 >"$S/out.n" && mv -f "$S/out.n" "$S/out.gz" || refuse 94 disk "no room for the result"
offer "$tree" out "$n"
