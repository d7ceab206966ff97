# sh go.sh DIR: the inner end, with the marker in its environment: becomes the command itself.
D=$1
export SANDBOX_CODER_RUN
[ -z "${SBX_SHELL+x}" ] || { [ -z "$SBX_SHELL" ] || { SHELL=$SBX_SHELL; export SHELL; }; unset SBX_SHELL; }
case ${SBX_LC_ALL-} in
  '') ;;
  -) unset LC_ALL SBX_LC_ALL ;;
  *) LC_ALL=$SBX_LC_ALL; export LC_ALL; unset SBX_LC_ALL ;;
esac
if [ -e "$D/env" ]; then . "$D/env"; rm -f "$D/env"; fi
umask 022
if [ -e "$D/typed" ]; then exec sh "$D/cmd"; fi
if [ -e "$D/stdin" ]; then exec sh "$D/cmd" <"$D/stdin"; else exec sh "$D/cmd" </dev/null; fi
