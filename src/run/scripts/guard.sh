# sh guard.sh DIR RUN, with the functions of sweep.sh before it: ends the run when its time is up, whether
# anybody follows it or not, and keeps its record from filling the disk. The file `limits` holds four numbers,
# 0 for no limit: the whole time, the longest silence, the time between TERM and KILL, all in seconds, and the
# bytes that are kept of each stream.
D=$1; R=$2
read -r total idle G log <"$D/limits" || exit 0
size() { stat -c %s "$1" 2>/dev/null || wc -c <"$1" 2>/dev/null || echo 0; }
# The time since boot goes on while the machine sleeps.
now() { if read -r t rest 2>/dev/null </proc/uptime; then t=${t%%.*}; else t=$(date +%s); fi; }
over() { claim "$1"; finish; exit 0; }
# A stream that became too long keeps its beginning and its end; offsets stay. The hole is announced before
# it is made: who finds no announcement after having read knows that what was read was still there.
trim() {
  x=$((log / 8 / 65536 * 65536)); y=$x; [ ! -e "$1.hole" ] || read -r x y <"$1.hole"
  s=$(size "$1"); [ $((s - y)) -gt "$log" ] || return 0
  y=$(((s - log / 2) / 65536 * 65536))
  echo "$x $y" >"$1.hole.n"; mv "$1.hole.n" "$1.hole"
  fallocate -p -o "$x" -l $((y - x)) "$1"
}
if [ "$log" -gt 0 ]; then
  echo >"$D/probe"; fallocate -p -o 0 -l 1 "$D/probe" 2>/dev/null || log=0
  rm -f "$D/probe"
fi
now; began=$t; last=$t; silent=0; was=
while [ ! -e "$D/exit" ]; do
  sleep 1
  now; step=$((t - last)); last=$t
  [ "$total" -eq 0 ] || [ $((t - began)) -lt "$total" ] || over timeout
  if [ "$idle" -gt 0 ]; then
    is="$(size "$D/out") $(size "$D/err")"
    # A machine that slept or was too busy to look has heard no silence.
    [ $step -le 5 ] || step=5
    if [ "$is" = "$was" ]; then silent=$((silent + step)); else silent=0; was=$is; fi
    [ $silent -lt "$idle" ] || over idle
  fi
  [ "$log" -eq 0 ] || { trim "$D/out"; trim "$D/err"; }
  # A runner that was killed alone writes no status: stay while anything of its run lives.
  read -r p 2>/dev/null <"$D/pid" || continue
  kill -0 "$p" 2>/dev/null || [ -e "$D/exit" ] || sweep 0 || exit 0
done
