# sh guard.sh DIR RUN, with the functions of sweep.sh before it: ends the run when its time is up, whether
# anybody follows it or not. The file `limits` holds three numbers of seconds, 0 for no limit: the whole
# time, the longest silence, and the time between TERM and KILL.
D=$1; R=$2
read -r total idle G <"$D/limits" || exit 0
size() { stat -c %s "$1" 2>/dev/null || wc -c <"$1" 2>/dev/null || echo 0; }
# The time since boot goes on while the machine sleeps.
now() { if read -r t rest 2>/dev/null </proc/uptime; then t=${t%%.*}; else t=$(date +%s); fi; }
over() { claim "$1"; finish; exit 0; }
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
  # A runner that was killed alone writes no status: stay while anything of its run lives.
  read -r p 2>/dev/null <"$D/pid" || continue
  kill -0 "$p" 2>/dev/null || [ -e "$D/exit" ] || sweep 0 || exit 0
done
