# sh term.sh DIR RUN: runs the command on the terminal into which this was typed, for somebody who types on,
# and says its status at the end. What is typed at the command is not meant for this shell.
D=$1; R=$2
echo $$ >"$D/pid.n"; mv "$D/pid.n" "$D/pid"
: >>"$D/out"; : >>"$D/err"
[ ! -e "$D/limits" ] || sh "$D/guard.sh" "$D" "$R" </dev/null >/dev/null 2>&1 &
trap : INT QUIT
( SANDBOX_CODER_RUN=$R; export SANDBOX_CODER_RUN; exec sh "$D/go.sh" "$D" )
s=$?
[ ! -e "$D/forget" ] || while IFS= read -r f; do rm -rf "$f"; done <"$D/forget"
rm -f "$D/env"
echo $s >"$D/exit.n"; mv "$D/exit.n" "$D/exit"
printf '\001END %s %s\002' "$R" "$s"
# The reader closes the terminal; one that ends by itself would lose its last bytes.
sleep 20
