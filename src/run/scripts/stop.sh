# Needs D, R and G (seconds between TERM and KILL). Ends every process that carries the run's marker,
# wherever it hides in the process tree, and waits for the runner to write the exit status.
sweep() {
  found=1
  for p in /proc/[0-9]*; do
    grep -qz "^SANDBOX_CODER_RUN=$R$" "$p/environ" 2>/dev/null && kill -$1 "${p#/proc/}" 2>/dev/null && found=0
  done
  return $found
}
nap() { sleep 0.1 2>/dev/null || sleep 1; }
n=0; sweep TERM && while [ $n -lt $((G * 10)) ] && sweep 0; do nap; n=$((n + 1)); done
# New children may appear between two looks.
n=0; while sweep KILL && [ $n -lt 20 ]; do nap; n=$((n + 1)); done
n=0; while [ -d "$D/start" ] && [ ! -e "$D/exit" ] && [ $n -lt 20 ]; do nap; n=$((n + 1)); done
e=-; [ ! -e "$D/exit" ] || e=$(cat "$D/exit")
left=0; ! sweep 0 || left=1
say run-stopped $e $left
