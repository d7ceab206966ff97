# Gives the agent's repository HEAD's history. A convenience: whatever goes wrong is said and harms nothing.
# DO is `take` (what arrived becomes objects beside the workspace), `carry` (the same, whatever lies in the workspace:
# a push is about to replace it) or `put` (they become the workspace's `.git`). HID names this delivery; HHEAD is the
# commit, HBRANCH its branch or empty, HFORMAT the hash; HPACK is `none`, `inline` (HDATA) or a file, of which HSHA is
# the hash, the first HMARKS bytes are the commits whose parents are left out, the next HINDEX the index of the pack
# HNAME, if it came along. HOLD is the commit the sandbox has, or `-`. Without HHEAD there is one commit.
W="$HOME/workspace" S="$HOME/.sandbox-coder/sync"
G="$W/.git" H="$S/history.git"
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_OPTIONAL_LOCKS=0 GIT_TERMINAL_PROMPT=0 GIT_NO_LAZY_FETCH=1
export GIT_AUTHOR_NAME=sandbox-coder GIT_AUTHOR_EMAIL=sandbox-coder@localhost
export GIT_COMMITTER_NAME=sandbox-coder GIT_COMMITTER_EMAIL=sandbox-coder@localhost
# Git takes a quarter of a megabyte for each object it writes; glibc would give it back to the kernel each time.
export MALLOC_TRIM_THRESHOLD_=67108864 MALLOC_TOP_PAD_=1048576
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_COMMON_DIR GIT_NAMESPACE
command -v git >/dev/null 2>&1 || { say history nogit; exit 0; }
mkdir -p "$S" 2>/dev/null
# Two deliveries at the same time do the same; one after the other they do it once.
E="$S/history.err"
: >"$E"
if command -v flock >/dev/null 2>&1 && exec 8>"$S/history.lock"; then
  waited=0
  until flock -n 8; do
    waited=$((waited + 1))
    [ $waited -lt 10 ] || { say history failed "$(echo 'another one is under way' | base64)"; exit 0; }
    sleep 1
  done
fi
failed() { say history failed "$(head -c 300 "$E" 2>/dev/null | base64 | tr -d '\n')"; }
# Git on the repository $R: no hook and no watcher that the agent may have set up is run, and nothing else
# in the agent's repository holds us up.
limit=
in_repo() { GIT_DIR=$R GIT_WORK_TREE=$W $limit git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c gc.auto=0 "$@"; }
# What was put there last is remembered as the content of HEAD and the commit. While HEAD moves, `history.open`
# holds the commit it moves to, the branch it leaves and the one it comes to.
standing() { cat "$R/HEAD" && in_repo rev-parse -q --verify 'HEAD^{commit}'; }
remember() { standing >"$S/history.n" 2>>"$E" && mv -f "$S/history.n" "$S/history"; }
open() { sed -n "$1p" "$S/history.open" 2>/dev/null; }
cut_short() { [ -s "$S/history.open" ] && [ "$(standing 2>/dev/null | sed -n 2p)" = "$(open 1)" ]; }
untouched() {
  R=$G
  ! timeout 1 true 2>/dev/null || limit='timeout 15'
  [ -d "$G" ] && [ ! -L "$G" ] && [ -f "$G/HEAD" ] && [ -s "$S/history" ] || return 1
  [ "$(standing 2>/dev/null)" = "$(cat "$S/history")" ] || cut_short || return 1
  for busy in index.lock HEAD.lock MERGE_HEAD CHERRY_PICK_HEAD REVERT_HEAD BISECT_LOG rebase-merge rebase-apply; do
    [ ! -e "$G/$busy" ] || return 1
  done
}
# Sets `way` to how the history gets in: fresh, move, or not at all.
find_way() {
  if [ ! -e "$G" ] && [ ! -L "$G" ]; then way=fresh
  elif untouched; then way=move
  else way=kept; fi
  case $way in
    move) has=$(sed -n 2p "$S/history"); [ ${#has} = ${#HHEAD} ] || way=kept; [ "$HOLD" = - ] || [ "$HOLD" = "$has" ] || way=stale;;
    fresh) [ "$HOLD" = - ] || way=stale;;
  esac
}
init() {
  set -- -q --template= "$@"
  [ "$HFORMAT" = sha1 ] || set -- --object-format="$HFORMAT" "$@"
  git init "$@" >/dev/null 2>>"$E"
}
# What is in the file $F becomes objects of $H. A pack and an index that do not belong together are not read.
objects() {
  P="$H/objects/pack/pack-$HNAME"
  if [ "$HINDEX" = 0 ]; then
    tail -c "+$((HMARKS + 1))" "$F" | GIT_DIR=$H git index-pack --stdin --fix-thin >/dev/null 2>>"$E"
  else
    tail -c "+$((HMARKS + HINDEX + 1))" "$F" >"$P.pack" && tail -c "+$((HMARKS + 1))" "$F" | head -c "$HINDEX" >"$P.idx" &&
    GIT_DIR=$H git cat-file -e "$HHEAD" 2>>"$E"
  fi
}
take() {
  [ "$(cat "$H/ready" 2>/dev/null)" != "$HID" ] || return 0
  rm -rf "$H"
  F=$HPACK
  [ "$F" != inline ] || { F="$S/in.$HID.pack"; printf '%s' "$HDATA" | base64 -d >"$F" 2>>"$E" || return 1; }
  [ -e "$F" ] && [ "$(sha256sum <"$F" | cut -c1-64)" = "$HSHA" ] || { echo 'it did not arrive whole' >>"$E"; rm -f "$F"; return 1; }
  init --bare "$H" && mkdir -p "$H/objects/info" "$H/objects/pack" || return 1
  [ "$HOLD" = - ] || printf '%s\n' "$G/objects" >"$H/objects/info/alternates"
  head -c "$HMARKS" "$F" >"$H/marks" && objects && echo "$HID" >"$H/ready"
  code=$?
  rm -f "$F"
  return $code
}
# Gives the repository the objects; the index of a pack comes last, it makes the pack known. They stay here, too, until
# all is done: the same delivery may come again.
add_objects() {
  [ "$HPACK" != none ] || return 0
  mkdir -p "$R/objects/pack"
  for part in "$H"/objects/pack/*.pack "$H"/objects/pack/*.rev "$H"/objects/pack/*.idx; do
    [ ! -e "$part" ] || ln -f "$part" "$R/objects/pack/" 2>/dev/null || cp -f "$part" "$R/objects/pack/" 2>>"$E" || return 1
  done
  if [ -s "$H/marks" ]; then cp -f "$H/marks" "$R/shallow"; else rm -f "$R/shallow"; fi
}
# HEAD leaves its branch, the branch goes, the new one comes: names like `a` and `a/b` never meet. A move that was
# cut short is taken back to where HEAD has no branch.
set_head() {
  if cut_short; then
    at=$(open 1)
    in_repo update-ref --no-deref HEAD "$at" 2>>"$E" || return 1
    for left in "$(open 2) $(sed -n 2p "$S/history")" "$(open 3) $at"; do
      # Whoever moved that branch since keeps it.
      [ "${left#* }" != "$(in_repo rev-parse -q --verify "${left%% *}")" ] || in_repo update-ref -d ${left%% *} 2>>"$E"
    done
  fi
  was=$(in_repo symbolic-ref -q HEAD)
  now=${HBRANCH:+refs/heads/$HBRANCH}
  [ -z "$now" ] || [ "$now" = "$was" ] || ! in_repo rev-parse -q --verify "$now" >/dev/null || return 2
  printf '%s\n' "$HHEAD" "$was" "$now" >"$S/history.open.n" && mv -f "$S/history.open.n" "$S/history.open" || return 1
  in_repo update-ref --no-deref HEAD "$HHEAD" 2>>"$E" || return 1
  [ -z "$was" ] || in_repo update-ref -d "$was" 2>>"$E"
  [ -z "$now" ] || { in_repo update-ref "$now" "$HHEAD" && in_repo symbolic-ref HEAD "$now"; } 2>>"$E"
}
# The index says HEAD. What our own index knows of the files is taken along: nothing is read once more.
set_index() {
  [ "$HFORMAT" != sha1 ] || [ -e "$S/plain" ] || [ ! -s "$S/index" ] || { cp -p "$S/index" "$R/index.new" && mv -f "$R/index.new" "$R/index"; } 2>/dev/null
  in_repo read-tree --reset HEAD 2>>"$E" || { rm -f "$R/index"; in_repo read-tree HEAD 2>>"$E"; } || return 1
  # Repositories inside do not travel; that they are missing is no change.
  in_repo ls-files -s -z | tr '\n\0' '\001\n' | sed -n 's/^160000 [0-9a-f]* 0.//p' | tr '\n\001' '\0\n' |
    in_repo update-index -z --skip-worktree --stdin 2>/dev/null
  in_repo update-index -q --refresh >/dev/null 2>&1
  return 0
}
fill() {
  add_objects && set_head || return $?
  set_index && remember && rm -f "$S/history.open" && echo "$HID" >"$S/history.id"
}
fresh() {
  rm -rf "$S"/dot.*; D="$S/dot.$$"
  init "$D" || return 1
  R="$D/.git"
  in_repo config gc.auto 0
  "$@" && mv "$R" "$G" 2>>"$E"
  code=$?
  rm -rf "$D"
  return $code
}
one_commit() {
  { [ -z "$HBRANCH" ] || in_repo symbolic-ref HEAD "refs/heads/$HBRANCH"; } &&
  in_repo -c core.looseCompression=0 add -A >/dev/null 2>&1 || :
  in_repo commit -q --no-verify --allow-empty -m 'The worktree as it was sent' 2>>"$E" && remember
}
minimal() { [ -e "$G" ] || [ -L "$G" ] || { HFORMAT=sha1; fresh one_commit; }; }
# Whether it is there: this delivery came before, or one like it that could not say so.
put_before() {
  [ "$way" != fresh ] && [ "$(cat "$S/history.id" 2>/dev/null)" = "$HID" ] ||
  { [ "$way" = stale ] && [ -e "$G" ] && [ "$(cat "$S/history")" = "${HBRANCH:+ref: refs/heads/}${HBRANCH:-$HHEAD}
$HHEAD" ]; }
}
find_way
if [ "$DO" = carry ]; then
  if take; then say history taken; else failed; fi
elif put_before; then
  say history put
  [ ! -e "$H" ] || rm -rf "$H"
elif [ -z "$HHEAD" ]; then
  minimal && say history minimal || failed
elif [ "$way" = kept ] || [ "$way" = stale ]; then
  say history "$way"
  case $HPACK in /*) rm -f "$HPACK";; esac
elif [ "$HPACK" != none ] && ! take; then
  failed; [ "$DO" = take ] || minimal
elif [ "$DO" = take ]; then
  say history taken
else
  if [ "$way" = fresh ]; then fresh fill; else fill; fi
  case $? in 0) say history put;; 2) say history kept;; *) failed; minimal;; esac
  rm -rf "$H"
fi
exit 0
