# Needs D (the run's folder) and R (its id): says what is known of the run, the exit status before the sizes,
# why it was ended if it was, and what the streams no longer hold.
size() { stat -c %s "$1" 2>/dev/null || wc -c <"$1" 2>/dev/null || echo 0; }
e=-; [ ! -e "$D/exit" ] || e=$(cat "$D/exit")
w=-; [ ! -e "$D/ended" ] || w=$(cat "$D/ended")
hole() { x=0; y=0; [ ! -e "$1.hole" ] || read -r x y <"$1.hole"; echo "$x $y"; }
started=0; [ ! -e "$D/pid" ] || started=1
alive=0
if [ "$e" = - ]; then
  ! grep -qz "^SANDBOX_CODER_RUN=$R$" /proc/[0-9]*/environ 2>/dev/null || alive=1
fi
say run-state $e $started $alive $(size "$D/out") $(size "$D/err") ${w:-stopped} $(hole "$D/out") $(hole "$D/err")
