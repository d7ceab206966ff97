# sh run.sh DIR RUN: starts the detached runner of the run whose files are in DIR.
# The runner itself does not carry the run's marker: a sweep leaves it alive to write the exit status.
D=$1; R=$2
cd "$D" || exit 70
umask 077
if command -v setsid >/dev/null 2>&1; then S=setsid; else S=nohup; fi
$S sh -c '
  D=$1; R=$2
  echo $$ >"$D/pid.n"; mv "$D/pid.n" "$D/pid"
  : >>"$D/out"; : >>"$D/err"
  [ ! -e "$D/limits" ] || sh "$D/guard.sh" "$D" "$R" &
  # Subshells, because dash would say Terminated where a simple command is redirected.
  t=no
  if [ -e "$D/tty" ]; then
    case $(script --version 2>/dev/null) in *util-linux*) t=yes ;; esac
  fi
  if [ $t = yes ]; then
    read -r c r <"$D/tty"
    ( SBX_SHELL=${SHELL-}; unset SHELL; SANDBOX_CODER_RUN=$R; export SBX_SHELL SANDBOX_CODER_RUN
      exec script -qefc "stty -echo -onlcr cols $c rows $r 2>/dev/null; exec sh \"$D/go.sh\" \"$D\"" /dev/null ) \
      >>"$D/out" 2>>"$D/err" </dev/null
  elif [ -e "$D/apart" ]; then
    ( SANDBOX_CODER_RUN=$R; export SANDBOX_CODER_RUN; exec sh "$D/go.sh" "$D" ) >>"$D/out" 2>>"$D/err" </dev/null
  else
    ( SANDBOX_CODER_RUN=$R; export SANDBOX_CODER_RUN; exec sh "$D/go.sh" "$D" ) >>"$D/out" 2>&1 </dev/null
  fi
  s=$?
  [ ! -e "$D/forget" ] || while IFS= read -r f; do rm -rf "$f"; done <"$D/forget"
  rm -f "$D/env"
  echo $s >"$D/exit.n"; mv "$D/exit.n" "$D/exit"
' sh "$D" "$R" </dev/null >/dev/null 2>&1 &
