# Needs D (the run's folder) and R (its id): says what is known of the run, the exit status before the sizes.
size() { stat -c %s "$1" 2>/dev/null || wc -c <"$1" 2>/dev/null || echo 0; }
e=-; [ ! -e "$D/exit" ] || e=$(cat "$D/exit")
started=0; [ ! -e "$D/pid" ] || started=1
alive=0
if [ "$e" = - ]; then
  for p in /proc/[0-9]*; do
    grep -qz "^SANDBOX_CODER_RUN=$R$" "$p/environ" 2>/dev/null && { alive=1; break; }
  done
fi
say run-state $e $started $alive $(size "$D/out") $(size "$D/err")
