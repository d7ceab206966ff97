# Needs RUNS, the folder of all runs: says one line for each.
size() { stat -c %s "$1" 2>/dev/null || wc -c <"$1" 2>/dev/null || echo 0; }
live=" $(cat /proc/[0-9]*/environ 2>/dev/null | tr '\0' '\n' | sed -n 's/^SANDBOX_CODER_RUN=//p' | sort -u | tr '\n' ' ')"
for D in "$RUNS"/*; do
  [ -d "$D/start" ] || continue
  R=${D##*/}; e=-; [ ! -e "$D/exit" ] || e=$(cat "$D/exit")
  w=-; [ ! -e "$D/ended" ] || w=$(cat "$D/ended")
  t=$(cat "$D/began" 2>/dev/null); alive=0
  case "$live" in *" $R "*) alive=1 ;; esac
  say run-listed "$R" "${t:-0}" $e $alive $(size "$D/out") $(size "$D/err") ${w:-stopped}
done
:
