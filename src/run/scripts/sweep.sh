# Needs D (the run's folder) and R (its id): finds and ends what carries the run's marker.
sweep() {
  found=1
  for p in $(grep -lz "^SANDBOX_CODER_RUN=$R$" /proc/[0-9]*/environ 2>/dev/null | tr "\0" "\n"); do
    p=${p#/proc/}; kill -$1 "${p%/environ}" 2>/dev/null && found=0
  done
  return $found
}
nap() { sleep 0.1 2>/dev/null || sleep 1; }
# Remembers why the run is ended, before the first signal: the status alone may look like a success.
# The first reason stays; a run that has ended by itself gets none.
claim() {
  [ ! -e "$D/exit" ] || return 0
  (set -C; echo "$1" >"$D/ended") 2>/dev/null || return 0
  [ ! -e "$D/exit" ] || rm -f "$D/ended"
}
# Whether the runner is there to write the exit status.
runner() { read -r r 2>/dev/null <"$D/pid" && kill -0 "$r" 2>/dev/null; }
# Ends it: TERM, G seconds, KILL; then waits for the runner to write the exit status, as long as it lives.
finish() {
  n=0; sweep TERM && while [ $n -lt $((G * 10)) ] && sweep 0; do nap; n=$((n + 1)); done
  # New children may appear between two looks.
  n=0; while sweep KILL && [ $n -lt 20 ]; do nap; n=$((n + 1)); done
  n=0
  while [ -d "$D/start" ] && [ ! -e "$D/exit" ] && [ $n -lt 100 ]; do
    [ $n -lt 20 ] || runner || break
    nap; n=$((n + 1))
  done
}
