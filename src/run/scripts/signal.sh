# Needs R and SIG: sends a signal to every process that carries the run's marker.
n=0
for p in $(grep -lz "^SANDBOX_CODER_RUN=$R$" /proc/[0-9]*/environ 2>/dev/null | tr "\0" "\n"); do
  p=${p#/proc/}; kill -$SIG "${p%/environ}" 2>/dev/null && n=$((n + 1))
done
say run-signalled $n
