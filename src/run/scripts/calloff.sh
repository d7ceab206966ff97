# Needs D and WHY. Takes the place of a start that may still be on its way: who makes the folder `start` first
# decides. A run that was called off reads like one that was ended before its first word.
umask 077
mkdir -p "$D" && chmod 700 "$D" || exit 71
if mkdir "$D/start" 2>/dev/null; then
  date +%s >"$D/began"; : >"$D/out"; : >"$D/err"
  echo "$WHY" >"$D/ended"; echo 143 >"$D/exit.n"; mv "$D/exit.n" "$D/exit"
  say run-called-off yes
else
  say run-called-off no
fi
