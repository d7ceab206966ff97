# Without git the workspace is known by a sorted list that takes the place of the index: a line for each file and
# link, with what stat says of it and its name, `\` and newline escaped; and one for each repository inside.
# Names that end in NUL become such lines.
lines() {
  xargs -0 sh -c 'nl="
"; for p do case $p in
    *"\\"* | *"$nl"*) p=$(printf "%sx" "$p" | sed -e "s/\\\\/\\\\\\\\/g" -e "\$!s/\$/\\\\n/" | tr -d "\n"); printf "%s\n" "${p%x}";;
    *) printf "%s\n" "$p";; esac; done' sh
}
# Lists the NUL-ended names of the file $1 in the file $2.
stats() {
  : >"$S/stats"
  [ ! -s "$1" ] || ( cd "$W" && xargs -0 stat -c '%f:%s:%Y:%Z:%i' ) <"$1" >"$S/stats" 2>>"$S/err"
  lines <"$1" >"$S/lines"
  # One that went away meanwhile has no line of its own: then the two do not belong together.
  [ "$(wc -l <"$S/stats")" -eq "$(wc -l <"$S/lines")" ] &&
    paste -d' ' "$S/stats" "$S/lines" | sed 's,^[^ ]* \(.*/\.git\)$,repository \1,' | sort >"$2"
}
# What only one of two lists has: `-` before a line of the first, `+` before one of the second.
differ() {
  awk 'second { if ($0 in first) delete first[$0]; else print "+" $0; next } { first[$0] }
    END { for (line in first) print "-" line }' "$1" second=1 "$2"
}
# Waits until the clock that stat tells, which counts seconds, has moved on.
next_second() { t=$(date +%s); while [ "$(date +%s)" -le "$t" ]; do sleep 1; done; }
# Lists the workspace in the file $1. What changed within the present second may do so again unnoticed: then it is
# looked at once more a second later, and what is still young gets a line that never comes again.
list() {
  tries=0
  [ -e "$S/index" ] || : >"$S/index"
  while :; do
    now=$(date +%s)
    ( cd "$W" && find . -path ./.git -prune -o -name .git -print0 -prune -o '(' -type f -o -type l ')' -print0 ) >"$S/names" 2>"$S/err"
    if stats "$S/names" "$1.n"; then
      differ "$S/index" "$1.n" | awk -F'[: ]' -v now="$now" '/^[+][^r]/ && $4 >= now { young = 1 } END { exit !young }' || [ -s "$S/err" ] || break
      [ $tries -eq 0 ] || { awk -F'[: ]' -v now="$now" '{ print (!/^repository / && $4 >= now ? "?" now "?" : "") $0 }' "$1.n" | sort >"$1.m" && mv -f "$1.m" "$1.n"; break; }
    fi
    tries=$((tries+1)); [ $tries -lt 5 ] || refuse 84 restless "files come and go faster than they can be listed"
    next_second
  done
  mv -f "$1.n" "$1" || refuse 94 disk "no room for the list"
  rm -f "$S/names" "$S/lines" "$S/stats"
}
# Makes the list of a workspace into which the stage $L was just put: what was sent is looked at itself, byte by byte
# unless it is a lot, everything else stays as it was known.
note() {
  export HASH=1; [ "$FROM" != - ] && [ "$(tr -cd '\0' <"$L/c/i" | wc -c)" -le 2000 ] || HASH=
  [ "$FROM" = - ] || {
    next_second
    xargs -0 sh -c 'for p do printf "./%s\0" "$p"; done' sh <"$L/c/f" >"$S/sent"
    stats "$S/sent" "$S/before" || return 1
  }
  each i 'tab=$(printf "\t"); bad=0; for e do
    mode=${e%% *} p=./${e#*"$tab"} id=${e%%"$tab"*}; id=${id#* }
    # What could not be removed was told already; it may have come back as another type.
    [ "$mode" != 0 ] || continue
    if [ "$mode" = 120000 ]; then [ -L "$p" ] || { bad=1; continue; }
    else
      { [ -f "$p" ] && [ ! -L "$p" ]; } || { bad=1; continue; }
      if [ "$mode" = 100755 ]; then [ -x "$p" ] || bad=1; else [ ! -x "$p" ] || bad=1; fi
    fi
    [ -n "$HASH" ] || continue
    if [ -L "$p" ]; then h=$({ printf "blob %s\0" "$(readlink -n "$p" | wc -c | tr -d " ")"; readlink -n "$p"; } | sha1sum)
    else h=$({ printf "blob %s\0" "$(wc -c <"$p" | tr -d " ")"; cat "$p"; } | sha1sum); fi
    [ "${h%% *}" = "$id" ] || bad=1
  done; exit $bad' || return 1
  if [ "$FROM" = - ]; then : >"$S/index" && list "$S/index.n" && : >"$S/plain"; return; fi
  stats "$S/sent" "$S/after" && cmp -s "$S/before" "$S/after" || return 1
  xargs -0 sh -c 'for p do printf "./%s\0" "$p"; done' sh <"$L/c/d" >>"$S/sent"
  lines <"$S/sent" >"$S/lines"
  # What was put aside for it lay below it, or where its folders are now.
  awk 'function up() { return sub(/\/[^\/]*$/, "", part) }
    known { name = $0; sub(/^[^ ]* /, "", name); part = name
      if (name in sent || name in above) next
      while (up()) if (part in sent) next
      print; next }
    { sent[$0]; part = $0; while (up()) above[part] }' "$S/lines" known=1 "$S/index" >"$S/kept" &&
    sort "$S/kept" "$S/after" >"$S/index.n"
}
